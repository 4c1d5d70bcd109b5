"""Rotary embedding written out: the same rotation, in the same precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx_ir.passes import PreconditionError

from clasp_trt.engines.lowering.rotary_embedding import LowerRotaryEmbedding
from tests.engines.lowering.one_node import (
    PRECISIONS,
    Array,
    Run,
    apply,
    assert_as_good,
    graph,
    on_onnxruntime,
    pair,
    proto,
)

POSITIONS = 50


def _inputs(heads: int, rows: int, size: int, rotated: int, dtype: Any, batch: int = 1) -> list[Array]:
    """An input, cosine and sine tables of ``rotated / 2`` columns, and positions in no order."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, heads, rows, size)).astype(dtype)
    angles = np.arange(POSITIONS)[:, None] * 10000.0 ** (-2 * np.arange(rotated // 2) / rotated)
    positions = rng.integers(0, POSITIONS, (batch, rows))
    return [x, np.cos(angles).astype(dtype), np.sin(angles).astype(dtype), positions]


def _exact(x: Array, cos: Array, sin: Array, positions: Array) -> NDArray[np.float64]:
    """Each pair ``(x[i], x[i + rotated / 2])`` as a complex number, turned by ``cos + i sin``; the rest unchanged."""
    half = cos.shape[1]
    turn = (cos.astype(np.float64) + 1j * sin.astype(np.float64))[positions][:, None]
    wide = x.astype(np.float64)
    turned = (wide[..., :half] + 1j * wide[..., half : 2 * half]) * turn
    return np.concatenate([turned.real, turned.imag, wide[..., 2 * half :]], axis=-1)


@pytest.mark.parametrize(("dtype", "run"), PRECISIONS)
@pytest.mark.parametrize("size", [8, 128])
def test_as_good_as_the_operator(dtype: Any, run: Run, size: int) -> None:
    arrays = _inputs(4, 7, size, size, dtype)
    original, lowered = pair("RotaryEmbedding", arrays, LowerRotaryEmbedding())
    assert_as_good(run(lowered, arrays), run(original, arrays), _exact(*arrays))


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3), heads=st.integers(1, 4), rows=st.integers(1, 6), half=st.integers(1, 6),
    still=st.integers(0, 5), by_position=st.booleans(),
)  # fmt: skip
def test_every_shape(batch: int, heads: int, rows: int, half: int, still: int, by_position: bool) -> None:
    """Partial rotation, and tables that were read before, included."""
    arrays = _inputs(heads, rows, 2 * half + still, 2 * half, np.float32, batch)
    exact = _exact(*arrays)
    if not by_position:
        x, cos, sin, positions = arrays
        arrays = [x, cos[positions], sin[positions]]
    attributes = {"rotary_embedding_dim": 2 * half} if still else {}
    _, lowered = pair("RotaryEmbedding", arrays, LowerRotaryEmbedding(), attributes)
    # two products of numbers up to |x| and 1, and their sum
    bound = 4 * np.finfo(np.float32).eps * np.abs(arrays[0]).max()
    np.testing.assert_allclose(on_onnxruntime(lowered, arrays), exact, rtol=0, atol=bound)


def test_nodes_of_the_same_positions_read_the_tables_once() -> None:
    made = graph("RotaryEmbedding", _inputs(4, 7, 8, 8, np.float16))
    second = ir.node("RotaryEmbedding", [made.outputs[0], *made.inputs[1:]])
    output = second.outputs[0]
    output.name, output.type, output.shape = "z", made.outputs[0].type, ir.Shape([None] * 4)
    made.append(second)
    made.outputs.append(output)
    assert apply(LowerRotaryEmbedding(), made)
    proto(made, 20)
    assert [node.op_type for node in made].count("Gather") == 2, "cosines and sines"


@pytest.mark.parametrize("attributes", [{"interleaved": 1}, {"num_heads": 4}])
def test_forms_that_the_pass_does_not_know(attributes: dict[str, int]) -> None:
    made = graph("RotaryEmbedding", _inputs(4, 7, 8, 8, np.float32), attributes)
    with pytest.raises(PreconditionError, match="interleaved or has its heads"):
        apply(LowerRotaryEmbedding(), made)
    assert [node.op_type for node in made] == ["RotaryEmbedding"], "left as it was"
