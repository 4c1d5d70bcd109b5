"""The benchmark of the selection on a GPU, as far as a CPU can tell: its peers compute the same function."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch

from benchmarks import selection_peers as peers
from benchmarks.selection_gpu import (
    GOALS,
    LLAVA,
    Row,
    Shape,
    Timing,
    Work,
    agreement,
    measure,
    places,
    time_selection,
    tokens,
)
from clasp_trt.ops import select
from tests.engines.kernels.conftest import emulator
from tests.engines.kernels.emulator import Emulator
from tests.gpu.harness.device import Device
from tests.gpu.harness.emulated_driver import EmulatedDriver

__all__ = ["emulator"]


@pytest.mark.parametrize("peer", [peers.paper_loop, peers.direct, peers.gram])
@pytest.mark.parametrize("pivots", [0, 25, 39])
def test_peers_compute_the_same_function(peer: peers.Select, pivots: int) -> None:
    shape = Shape(tokens=200, width=64, keep=40, pivots=pivots)
    saliency, x = tokens(shape)
    kept = peer(torch.from_numpy(saliency), torch.from_numpy(x), pivots, shape.keep).tolist()
    assert kept == sorted(set(kept))
    assert len(kept) == shape.keep
    assert agreement(kept, places(shape, saliency, x)) == 1.0


def test_peers_fill_the_places_of_empty_clusters() -> None:
    """Four different tokens, twelve times each: most of the twelve clusters stay empty."""
    x = torch.eye(4).repeat(12, 1)
    saliency = torch.arange(48, dtype=torch.float32)
    for peer in (peers.paper_loop, peers.direct, peers.gram):
        assert len(set(peer(saliency, x, 2, 14).tolist())) == 14


def test_a_member_that_ties_for_the_medoid_counts_as_the_medoid() -> None:
    shape = Shape(tokens=200, width=64, keep=40, pivots=25)
    saliency, x = tokens(shape)
    expected = places(shape, saliency, x)
    kept = select(saliency[None], x[None], [shape.pivots], shape.keep)[0][0].tolist()
    assert [min(place) for place in expected] == kept
    pair = next(place for place in expected if len(place) == 2)
    swapped = [token if token != min(pair) else max(pair) for token in kept]
    assert agreement(swapped, expected) == 1.0
    outside = next(token for token in range(shape.tokens) if not any(token in place for place in expected))
    assert agreement([outside, *kept[1:]], expected) == 39 / 40


class CpuBench:
    """Does the work where it is called for, and tells the same time for all of it."""

    place = "cpu"

    def stream(self) -> int:
        return 0

    def captured(self, work: Work) -> Work:
        return work

    def cold(self, work: Work) -> float:
        work()
        return 2.0

    warm = cold


class Counting(CpuBench):
    """Tells 3 and 1 ms, and 9 ms once."""

    def __init__(self) -> None:
        self.order: list[Work] = []

    def cold(self, work: Work) -> float:
        work()
        self.order.append(work)
        return 9.0 if len(self.order) == 1 else 3.0

    def warm(self, work: Work) -> float:
        return 1.0


def test_candidates_take_turns_and_medians_are_reported() -> None:
    runs = Counter[str]()
    watch = Counting()
    candidates: dict[str, Work] = {name: (lambda name=name: runs.update([name])) for name in ("a", "b")}
    assert measure(candidates, watch, rounds=3, samples=6) == {"a": (3.0, 1.0), "b": (3.0, 1.0)}
    assert runs == {"a": 6, "b": 6}
    a, b = candidates.values()
    assert watch.order == [a, a, b, b] * 3


def test_goals_are_those_of_the_two_models_and_travel_as_json() -> None:
    assert [(shape.tokens, shape.keep) for shape in GOALS] == [(576, 192), (2880, 320)]
    assert [goal.ms for goal in GOALS[LLAVA]] == [0.05, pytest.approx(0.0567, abs=1e-4)]
    timing = Timing(
        "name", GOALS[LLAVA], 5, 50, (Row("clasp-trt", 1.0, 0.04, 0.03),), {"FAISS": "which is not installed"}
    )
    assert json.loads(json.dumps(timing.to_json()))["rows"][0]["cold_ms"] == 0.04


def test_ours_and_all_peers_are_timed_on_the_same_tokens(emulator: Emulator) -> None:
    """With the kernels emulated on torch's own memory."""
    device = Device(EmulatedDriver(emulator), b"cubin")
    timing = time_selection(device, CpuBench(), Shape(tokens=144, width=64, keep=48, pivots=30), rounds=1, samples=1)
    ours, *others = timing.rows
    assert (ours.name, ours.agreement, ours.cold_ms) == ("clasp-trt", 1.0, 2.0)
    assert {"torch direct", "torch Gram, one-hot", "torch, loop over clusters, eager"} <= {row.name for row in others}
    assert all(row.agreement == 1.0 for row in others if row.name.startswith("torch"))
    assert "cuVS" in timing.absent


def test_a_peer_that_fails_is_named_and_costs_the_others_nothing(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(peers, "gram", refuse)
    device = Device(EmulatedDriver(emulator), b"cubin")
    timing = time_selection(device, CpuBench(), Shape(tokens=40, width=8, keep=12, pivots=5), rounds=1, samples=1)
    assert timing.absent["torch Gram, one-hot"] == "which fails: operation not permitted when stream is capturing"
    assert {"clasp-trt", "torch direct"} <= {row.name for row in timing.rows}
    assert "torch Gram, one-hot" not in {row.name for row in timing.rows}
