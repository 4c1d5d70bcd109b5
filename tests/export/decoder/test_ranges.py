"""Rows that are told what they see: masks of windows and of ranges, in prefill, in steps, and in several slots."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from clasp_trt.chain import Cut
from clasp_trt.export.decoder import segment
from clasp_trt.export.decoder.rotary import Rotary
from clasp_trt.export.decoder.segment import segment_graph
from clasp_trt.export.weights.graph import Weights
from tests.export.decoder.test_visible import CAPACITY, HEAD_DIM, RUBBISH, SPEC, WIDTH, _Random
from tests.export.running import Runnable

ROWS = 7
Array = NDArray[Any]
TOLD = replace(
    SPEC, layers=3, visible="blocks", window=3, sliding=(True, False, True), post_norms=True, activation="gelu_tanh"
)
KINDS = {"sliding": 0, "all": 1}


@pytest.fixture(scope="module", params=[None, 2.0], ids=["plain", "capped"])
def layers(request: pytest.FixtureRequest) -> dict[str, Runnable]:
    spec = replace(TOLD, score_cap=request.param)
    with pytest.MonkeyPatch.context() as patch:  # transformers' own take seconds to load
        patch.setattr(segment, "rotary", lambda spec: Rotary((1.0, 0.01), 1.0))
        return {
            kind: Runnable(
                segment_graph(spec, Cut("s", at, at, 0, watched=False), CAPACITY, CAPACITY, _weights(), "float32")
            )
            for kind, at in KINDS.items()
        }


def _weights() -> Weights:
    return cast(Weights, _Random())


def _run(layer: Runnable, kind: str, rows: Array, visible: Array, filled: int = 0, caches: Any = None) -> Any:
    """``rows`` ``[slots, rows, width]`` behind ``filled`` others; all that the graph gives."""
    slots, count, _ = rows.shape
    empty = np.full((slots, 1, CAPACITY, HEAD_DIM), RUBBISH, np.float32)
    names = (f"key_{KINDS[kind]}", f"value_{KINDS[kind]}")
    return layer(
        hidden=rows,
        position_ids=np.tile(np.arange(filled, filled + count), (slots, 1)),
        visible=visible,
        write_index=np.full(slots, filled),
        kv_length=np.array([CAPACITY]),  # more than is filled: what is not seen may be anything
        **{f"past_{name}": empty if caches is None else caches[f"present_{name}"] for name in names},
    )


def _told(seed: int) -> tuple[Array, Array]:
    """First and end of each row, itself among them."""
    rng, own = np.random.default_rng(seed), np.arange(ROWS)
    return np.minimum(rng.integers(0, ROWS, ROWS), own), np.maximum(rng.integers(1, ROWS + 1, ROWS), own + 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_a_row_sees_what_it_is_told(layers: dict[str, Runnable], kind: str, seed: int) -> None:
    rows = np.random.default_rng(9).standard_normal((1, ROWS, WIDTH)).astype(np.float32)
    first, end = _told(seed)
    visible = np.stack([first, end])[:, None]
    expected = _run(layers[kind], kind, rows, visible)["hidden_out"]
    for changed in range(ROWS):
        other = rows.copy()
        other[0, changed] *= -1
        differs = (_run(layers[kind], kind, other, visible)["hidden_out"] != expected).any(axis=2)[0]
        sees = (end > changed) & ((first <= changed) | (kind == "all"))
        assert differs.tolist() == sees.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_slots_are_told_each_for_itself(layers: dict[str, Runnable], kind: str) -> None:
    rows = np.random.default_rng(9).standard_normal((2, ROWS, WIDTH)).astype(np.float32)
    told = [np.stack(_told(seed))[:, None] for seed in (0, 1)]
    both = _run(layers[kind], kind, rows, np.concatenate(told, axis=1))["hidden_out"]
    alone = [_run(layers[kind], kind, rows[[slot]], told[slot])["hidden_out"][0] for slot in range(2)]
    assert np.abs(both - alone).max() <= 1e-5 * np.abs(both).max()
    assert not np.array_equal(*told)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_told_places_of_the_cache(layers: dict[str, Runnable], kind: str) -> None:
    """Causal rows in a window, all at once and with the last one as a step."""
    rows, own = np.random.default_rng(9).standard_normal((1, ROWS, WIDTH)).astype(np.float32), np.arange(ROWS)
    visible = np.stack([np.maximum(own - 2, 0), own + 1])[:, None]
    expected = _run(layers[kind], kind, rows, visible)["hidden_out"][0, -1]
    before = _run(layers[kind], kind, rows[:, :-1], visible[..., :-1])
    step = _run(layers[kind], kind, rows[:, -1:], visible[..., -1:], ROWS - 1, before)["hidden_out"][0, 0]
    assert np.abs(step - expected).max() <= 1e-5 * np.abs(expected).max()
