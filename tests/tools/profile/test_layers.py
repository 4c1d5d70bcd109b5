"""Node times belong to the calls that they were measured in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clasp_trt.tools.profile import Report
from clasp_trt.tools.profile.layers import DECODE, PREFILL, read
from clasp_trt.tools.profile.sample import Sample
from tests.tools.profile.samples import sample


def write(folder: Path, graph: str, runs: list[list[tuple[str, int]]]) -> None:
    """A profile as ONNX Runtime writes it: a ``model_run`` a millisecond, with nodes of (name, microseconds)."""
    events: list[dict[str, object]] = [{"cat": "Session", "name": "session_initialization", "ts": 5, "dur": 9}]
    for number, nodes in enumerate(runs):
        now = begun = 1000 * (number + 1)
        for name, spent in nodes:
            arguments = {"op_name": name.partition("_")[0], "output_type_shape": [{"float": [1, 4]}]}
            events.append({"cat": "Node", "name": f"{name}_kernel_time", "ts": now, "dur": spent, "args": arguments})
            now += spent
        events.append({"cat": "Session", "name": "model_run", "ts": begun, "dur": now - begun})
    (folder / f"{graph}_2026-01-02_03-04-05.json").write_text(json.dumps(events))


@pytest.fixture
def three() -> list[Sample]:
    """Answers with a graph that runs once before the first token and in each of two steps."""
    steps = [{"embed": 1.0}, {"embed": 1.0}]
    return [sample([("route", 1.0), ("embed", 1.0)], steps, start=start) for start in (10.0, 20.0, 30.0)]


def test_phases_are_told_apart_and_the_first_answer_does_not_count(tmp_path: Path, three: list[Sample]) -> None:
    for one in three:  # the first span is no call of a graph
        object.__setattr__(one, "calls", tuple(call for call in one.calls if call.name == "embed"))
    warm = [[("Mul_1", 900)]] * 3
    later = [
        [[("Mul_1", 100), ("Add_2", 50)], [("Mul_1", 10), ("Add_2", 1)], [("Mul_1", 30), ("Add_2", 1)]],
        [[("Mul_1", 300), ("Add_2", 50)], [("Mul_1", 20), ("Add_2", 1)], [("Mul_1", 20), ("Add_2", 1)]],
    ]
    write(tmp_path, "embed", [*warm, *later[0], *later[1]])
    found = read(tmp_path, three)
    assert found.ops(PREFILL) == pytest.approx({"Mul": 0.2, "Add": 0.05})
    assert found.ops(DECODE) == pytest.approx({"Mul": 0.02, "Add": 0.001})
    assert [(node.graph, node.phase, node.name, node.shape) for node in found.nodes[:2]] == [
        ("embed", PREFILL, "Mul_1", (1, 4)),
        ("embed", PREFILL, "Add_2", (1, 4)),
    ]
    first = found.spans[0]
    assert (first.name, first.start) == ("Mul_1", pytest.approx(three[-1].calls[0].start))
    assert len(found.spans) == 6


def test_a_profile_that_does_not_fit_the_calls_is_our_bug(tmp_path: Path, three: list[Sample]) -> None:
    for graph in ("route", "embed"):
        write(tmp_path, graph, [[("Mul_1", 1)]])
    with pytest.raises(RuntimeError, match="holds 1 runs, expected"):
        read(tmp_path, three)


def test_every_graph_of_a_bundle_is_there(report: Report) -> None:
    for each in report.measurements:
        assert each.layers is not None
        names = {graph.name for graph in each.bundle.manifest.graphs} - {"greedy"}  # of GPUs alone
        assert {node.graph for node in each.layers.nodes if node.phase == PREFILL} == names
        assert {node.graph for node in each.layers.nodes if node.phase == DECODE} == {
            name for name in names if name == "embed" or name.startswith("segment_")
        }
        assert {"Attention", "MatMul"} <= each.layers.ops(DECODE).keys()
