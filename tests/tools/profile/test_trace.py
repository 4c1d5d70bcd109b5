"""The time line is what Chrome's viewer reads, and parts lie within what they are parts of."""

from __future__ import annotations

import json
from collections import Counter
from itertools import groupby
from typing import Any

import pytest

from clasp_trt.tools.profile import Report
from clasp_trt.tools.profile.trace import dumps
from tests.tools.profile.conftest import NEW_TOKENS, RUNS

ROUNDING_US = 5.0  # ONNX Runtime tells whole microseconds


@pytest.fixture(scope="module")
def events(report: Report) -> list[dict[str, Any]]:
    told = json.loads(dumps(report))
    assert told.keys() == {"displayTimeUnit", "traceEvents"}
    found: list[dict[str, Any]] = told["traceEvents"]
    return found


def test_every_event_is_complete(events: list[dict[str, Any]]) -> None:
    for event in events:
        if event["ph"] == "X":
            assert event.keys() == {"ph", "cat", "name", "pid", "tid", "ts", "dur"}
            assert event["ts"] >= 0
            assert event["dur"] >= 0
        else:
            assert (event["ph"], event["name"] in ("process_name", "thread_name")) == ("M", True)


def test_each_run_of_each_bundle_is_there(events: list[dict[str, Any]]) -> None:
    requests = Counter((event["pid"], event["tid"]) for event in events if event.get("cat") == "request")
    assert requests == {(1, 1): RUNS, (2, 1): RUNS, (1, 2): 1, (2, 2): 1}
    steps = Counter((event["pid"], event["tid"]) for event in events if event["name"] == "decode")
    assert steps[1, 1] == RUNS * (NEW_TOKENS - 1)
    assert {event["tid"] for event in events if event.get("cat") == "node"} == {2}


def test_parts_lie_within_their_wholes(events: list[dict[str, Any]]) -> None:
    spans = sorted((e for e in events if e["ph"] == "X"), key=lambda e: (e["pid"], e["tid"], e["ts"], -e["dur"]))
    for _, thread in groupby(spans, key=lambda e: (e["pid"], e["tid"])):
        ends: list[float] = []
        for event in thread:
            while ends and ends[-1] <= event["ts"] + ROUNDING_US:
                ends.pop()
            end = event["ts"] + event["dur"]
            assert not ends or end <= ends[-1] + ROUNDING_US, event
            ends.append(end)
