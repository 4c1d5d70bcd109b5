"""A decoder that is cut finer than its prunes ask answers as the one that is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clasp_trt.build_memory import peak
from clasp_trt.bundle import Bundle
from clasp_trt.runtime.backends import ort
from clasp_trt.runtime.pipeline import load
from clasp_trt.tools.build.compiler import build

QUESTION = "What is on the table, and what lies beside it?"
LIMIT_GB = peak(225_000) / 1e9  # two of the tiny decoder's layers, or the last one with the output head
PRUNINGS: dict[str, dict[str, object]] = {
    "decoder": {"schedule": (7,), "prune_layers": (2,), "budget": None},
    "encoder": {"prune_at": "encoder"},
    "none": {"prune_at": "none"},
}


def _layers(bundle: Bundle) -> list[tuple[int, int]]:
    return [(segment.first_layer, segment.last_layer) for segment in bundle.manifest.segments]


@pytest.mark.parametrize("chunk", [pytest.param(ort.PREFILL_ROWS, marks=pytest.mark.full), 7])
@pytest.mark.parametrize(
    "pruning", ["decoder", *(pytest.param(way, marks=pytest.mark.full) for way in ("encoder", "none"))]
)
def test_the_same_tokens(
    built: Callable[..., Bundle], photos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    pruning: str, chunk: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(ort, "PREFILL_ROWS", chunk)
    whole = built(**PRUNINGS[pruning])
    finer = build(built(target=None, max_build_memory=LIMIT_GB, **PRUNINGS[pruning]).root, tmp_path / "finer")
    assert len(_layers(whole)) < len(_layers(finer))
    assert _layers(finer) == [(0, 1), (2, 2), (3, 3)]
    one, other = load(whole.root), load(finer.root)
    for image in (photos["coffee"], None):  # with a prune after segment_1 alone, and without any
        expected = one.generate(image, QUESTION, max_new_tokens=24)
        found = other.generate(image, QUESTION, max_new_tokens=24)
        assert found.token_ids == expected.token_ids
        assert len(found.kept) == len(expected.kept)
        for mine, theirs in zip(found.kept, expected.kept, strict=True):
            np.testing.assert_array_equal(mine.indices, theirs.indices)


def test_a_prune_follows_the_last_of_a_group_alone(built: Callable[..., Bundle]) -> None:
    bundle = built(target=None, max_build_memory=LIMIT_GB, **PRUNINGS["decoder"])
    gives = [[port.name for port in bundle.graph(s.graph).outputs] for s in bundle.manifest.segments]
    assert [names[0] for names in gives] == ["hidden_out", "hidden_out", "logits"]
    assert ["saliency" in names for names in gives] == [False, True, False]
    assert [segment.capacity for segment in bundle.manifest.segments] == [96, 96, 96 - 16 + 7]
