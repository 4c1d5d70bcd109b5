"""What a row of a decoder sees: the rows up to itself, in prefill and in decode, and no slot beyond.

One layer of random weights without a checkpoint, so that this is known within seconds.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from clasp_trt.chain import Cut
from clasp_trt.export.decoder import segment
from clasp_trt.export.decoder.rotary import Rotary
from clasp_trt.export.decoder.segment import segment_graph
from clasp_trt.export.decoder.spec import DecoderSpec
from clasp_trt.export.weights.graph import Weights
from tests.export.running import Runnable

CAPACITY, ROWS, WIDTH, HEADS, HEAD_DIM = 12, 7, 8, 2, 4
SPEC = DecoderSpec(
    layers=2, width=WIDTH, heads=HEADS, kv_heads=1, head_dim=HEAD_DIM, vocab_size=5, axes=1, visible="causal",
    mlp=6, norm_epsilon=1e-5, positions=CAPACITY, window=None,
    rotary={},
    qkv_bias=False, output_bias=False, mlp_bias=False, qk_norm=False, tied=False,
)  # fmt: skip
RUBBISH = 50.0
"""What empty slots hold; a row that saw one would show it."""
Array = NDArray[Any]


class _Random:
    """Weights of any name."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def linear(self, name: str, inputs: int, outputs: int) -> ir.Tensor:
        return ir.tensor(self._rng.standard_normal((inputs, outputs)).astype(np.float32) / np.float32(inputs) ** 0.5)

    def vector(self, name: str, width: int) -> ir.Tensor:
        return ir.tensor(np.ones(width, np.float32))


@pytest.fixture(scope="module")
def layer() -> Runnable:
    cut = Cut("segment", 0, 0, 0, watched=False)
    with pytest.MonkeyPatch.context() as patch:  # transformers' own take seconds to load
        patch.setattr(segment, "rotary", lambda spec: Rotary((1.0, 0.01), 1.0))
        return Runnable(segment_graph(SPEC, cut, CAPACITY, CAPACITY, cast(Weights, _Random()), "float32"))


class Cache:
    """A layer with its caches, whose empty slots hold rubbish."""

    def __init__(self, layer: Runnable) -> None:
        self._layer, self._filled = layer, 0
        self._caches = {name: np.full((1, 1, CAPACITY, HEAD_DIM), RUBBISH, np.float32) for name in ("key_0", "value_0")}

    def __call__(self, rows: Array, kv_length: int | None = None) -> Array:
        """Appends ``rows`` ``[n, width]``; what comes of each of them."""
        stop = self._filled + len(rows)
        found = self._layer(
            hidden=rows[None],
            position_ids=np.arange(self._filled, stop)[None],
            write_index=np.array([self._filled]),
            kv_length=np.array([kv_length or stop]),
            **{f"past_{name}": cache for name, cache in self._caches.items()},
        )
        self._filled = stop
        self._caches = {name: found[f"present_{name}"] for name in self._caches}
        out: Array = found["hidden_out"][0]
        return out


@pytest.fixture
def rows() -> Array:
    return np.random.default_rng(1).standard_normal((ROWS, WIDTH)).astype(np.float32)


def _close(found: Array, expected: Array) -> None:
    # one layer of sums of 8 numbers in float32
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_row_sees_itself_and_what_came_before(layer: Runnable, rows: Array) -> None:
    expected = Cache(layer)(rows)
    for changed in range(ROWS):
        other = rows.copy()
        other[changed] = -other[changed]
        differs = (Cache(layer)(other) != expected).any(axis=1)
        assert differs.tolist() == [row >= changed for row in range(ROWS)]


@pytest.mark.parametrize("prefilled", [1, 3, ROWS - 1])
def test_steps_see_what_was_prefilled(layer: Runnable, rows: Array, prefilled: int) -> None:
    cache = Cache(layer)
    found = [cache(rows[:prefilled]), *(cache(row[None]) for row in rows[prefilled:])]
    _close(np.concatenate(found), Cache(layer)(rows))


def test_slots_that_are_read_in_vain_are_not_seen(layer: Runnable, rows: Array) -> None:
    """A backend may read past what is filled; rubbish there moves nothing."""
    expected, cache = Cache(layer)(rows), Cache(layer)
    _close(cache(rows[:4], kv_length=CAPACITY), expected[:4])
    _close(cache(rows[4:5], kv_length=CAPACITY), expected[4:5])
