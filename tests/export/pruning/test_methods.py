"""The compiled form of every method keeps, index for index, what its definition keeps."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clasp_trt import methods
from clasp_trt.chain import Prune, port
from clasp_trt.chain.selections import READS
from clasp_trt.export.pruning.methods import BODIES
from clasp_trt.export.pruning.prune import prune_graph
from clasp_trt.methods import View
from clasp_trt.ops import token_gram
from tests.export.running import Runnable

WIDTH, OTHERS = 4, [name for name in READS if name != "clasp"]
SIZES = [(2, 1), (7, 3), (9, 8), (40, 33), (70, 12)]
"""Tokens and how many stay: fewer than pivots, nearly all, more than a sample needs."""


def test_every_selection_has_a_body_and_a_definition() -> None:
    assert set(BODIES) == set(READS) == {each.form for each in methods.METHODS.values() if each.form is not None}


@functools.cache
def _stage(name: str, size: tuple[int, int] | None, last: bool) -> Runnable:
    prune = Prune("prune_0", 0, *(size or (100, 50)), last, varies=size is None, method=name)
    return Runnable(prune_graph(prune, WIDTH, "float32"))


def _view(seed: int, tokens: int, keep: int, coarse: bool) -> View:
    """Tokens of few values have many equal similarities; some are invalid, and some attention is no number."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, (1, tokens, 3)).astype(np.float32) if coarse else rng.standard_normal((1, tokens, 3))
    saliency, cls = (rng.integers(0, 3 if coarse else 1 << 20, tokens).astype(np.float32) for _ in range(2))
    if seed % 3 == 0:
        x[0, rng.integers(tokens)] = np.inf
        saliency[rng.integers(tokens)] = cls[rng.integers(tokens)] = np.nan
    boxes = np.zeros((tokens, 4), np.float32)
    return View(saliency, token_gram(x)[0], cls, boxes, (0, 0, 0, 0), keep, keep // 2, stage=0)


def _feed(view: View, stage: Runnable) -> dict[str, NDArray[Any]]:
    """Three rows of text, the visual tokens, and two more rows of text."""
    rows = view.tokens + 5
    every: dict[str, NDArray[Any]] = {
        port.HIDDEN: np.arange(rows * WIDTH, dtype=np.float32).reshape(1, rows, WIDTH),
        port.POSITION_IDS: np.arange(rows)[None],
        port.SALIENCY: view.saliency[None],
        port.GRAM: view.gram[None],
        port.CLS_SALIENCY: view.cls_saliency[None],
        port.PIVOT_COUNT: np.array([view.pivot_count]),
        port.RANKS: np.arange(view.keep),
        port.VISUAL_INDEX: np.arange(3, rows - 2),
        port.REFERENCE_INDEX: np.arange(rows - 2, rows),
    }
    return {name: every[name] for name in stage.inputs}


@pytest.mark.parametrize("varies", [False, True], ids=["fixed", "varying"])
@pytest.mark.parametrize("name", OTHERS)
@given(seed=st.integers(0, 2**31), size=st.sampled_from(SIZES), coarse=st.booleans())
@settings(deadline=None, max_examples=40)
def test_what_is_kept(name: str, varies: bool, seed: int, size: tuple[int, int], coarse: bool) -> None:
    view = _view(seed, *size, coarse)
    stage = _stage(name, None if varies else size, last=False)
    found = stage(**_feed(view, stage))
    kept, is_pivot = methods.get(name).select(view)
    assert found[port.KEPT].tolist() == [kept.tolist()]
    assert found[port.IS_PIVOT].tolist() == [is_pivot.tolist()]


@pytest.mark.parametrize("name", OTHERS)
def test_what_the_next_stage_reads_is_narrowed(name: str) -> None:
    view = _view(1, 9, 8, coarse=False)
    stage = _stage(name, (9, 8), last=False)
    found = stage(**_feed(view, stage))
    kept = found[port.KEPT][0]
    np.testing.assert_array_equal(found[port.HIDDEN_OUT][0, :, 0], WIDTH * np.r_[0:3, 3 + kept, 12, 13])
    narrowed = {
        port.GRAM: view.gram[None][:, kept][:, :, kept],
        port.CLS_SALIENCY: view.cls_saliency[None, kept],
        port.REFERENCE_INDEX: np.array([11, 12]),
    }
    for read, expected in narrowed.items():
        wanted = read in READS[name] or (read == port.REFERENCE_INDEX and port.SALIENCY in READS[name])
        assert (port.out(read) in found) is wanted
        if wanted:
            np.testing.assert_array_equal(found[port.out(read)], expected)


@pytest.mark.parametrize("name", OTHERS)
def test_the_last_stage_owes_nothing(name: str) -> None:
    stage = _stage(name, (9, 8), last=True)
    assert set(stage.outputs) == {port.KEPT, port.IS_PIVOT, port.HIDDEN_OUT, port.out(port.POSITION_IDS)}
