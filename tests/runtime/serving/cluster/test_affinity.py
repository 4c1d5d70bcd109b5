"""The same pictures are asked of the same replica, and few move where replicas come and go."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from clasp_trt.runtime.serving.cluster.affinity import picture_key, ranked
from tests.runtime.serving.conftest import body

REPLICAS = [f"r{number}" for number in range(5)]


def key(asked: Any) -> str | None:
    return picture_key(json.dumps(asked).encode())


def test_pictures_alone_make_the_key() -> None:
    one = key(body("How many?", "data:a"))
    assert one == key(body("Which colour?", "data:a", temperature=1.0)) != key(body("How many?", "data:b"))
    assert key(body("x", "data:a", "data:b")) != key(body("x", "data:b", "data:a"))
    assert key(body("x", "data:ab")) != key(body("x", "data:a", "data:b"))


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'{"messages": 3}',
        b'{"messages": [3, {"content": [7, {"image_url": "x"}]}]}',
        b"[" * 100000,
    ],
    ids=lambda given: repr(given[:20]),
)
def test_what_nobody_can_read_has_no_key(given: bytes) -> None:
    assert picture_key(given) is None
    assert key(body("text alone")) is None


def test_keys_are_spread_and_stay() -> None:
    keys = [f"key {number}" for number in range(1000)]
    first = {each: ranked(each, REPLICAS) for each in keys}
    shares = Counter(order[0] for order in first.values())
    assert min(shares.values()) > 120
    assert all(sorted(order) == REPLICAS and order == ranked(each, REPLICAS[::-1]) for each, order in first.items())
    fewer = {each: ranked(each, REPLICAS[:-1])[0] for each in keys}
    moved = [each for each in keys if fewer[each] != first[each][0]]
    assert {first[each][0] for each in moved} == {REPLICAS[-1]}
    assert all(fewer[each] == first[each][1] for each in moved)
