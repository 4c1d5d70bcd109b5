"""Attention written out: as good as the operator in its own precision, for every shape and mask that it may have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx_ir.passes import PreconditionError

from clasp_trt.engines.lowering.attention import LowerAttention
from tests.engines.lowering.one_node import (
    PRECISIONS,
    Array,
    Run,
    apply,
    assert_as_good,
    graph,
    on_onnxruntime,
    on_reference,
    pair,
    proto,
)

MASKED = -30000.0  # what our decoders mask with


def _inputs(
    heads: int, kv_heads: int, rows: int, slots: int, size: int, dtype: Any, spread: float = 1.0
) -> list[Array]:
    """Queries of standard deviation ``spread``, keys, values, and a causal mask of the last ``rows`` slots."""
    rng = np.random.default_rng(0)
    query = (rng.standard_normal((1, heads, rows, size)) * spread).astype(dtype)
    key, value = (rng.standard_normal((1, kv_heads, slots, size)).astype(dtype) for _ in range(2))
    seen = np.arange(slots)[None] <= np.arange(rows)[:, None] + slots - rows
    return [query, key, value, np.where(seen, 0.0, MASKED).astype(dtype)]


def _exact(query: Array, key: Array, value: Array, mask: Array | None, scale: float) -> NDArray[np.float64]:
    """softmax(scale * q k^T + mask) v in float64, KV heads repeated."""
    groups = query.shape[1] // key.shape[1]
    keys, values = (np.repeat(x.astype(np.float64), groups, axis=1) for x in (key, value))
    scores = query.astype(np.float64) @ keys.swapaxes(-1, -2) * scale
    scores += 0.0 if mask is None else mask.astype(np.float64)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    exact: NDArray[np.float64] = weights / weights.sum(axis=-1, keepdims=True) @ values
    return exact


@pytest.mark.parametrize(("dtype", "run"), PRECISIONS)
@pytest.mark.parametrize("spread", [1.0, 8.0])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "rows", "slots", "size"), [(6, 2, 5, 9, 8), (4, 4, 16, 64, 128), (8, 2, 1, 300, 64)]
)
def test_as_good_as_the_operator(
    dtype: Any, run: Run, spread: float, heads: int, kv_heads: int, rows: int, slots: int, size: int
) -> None:
    arrays = _inputs(heads, kv_heads, rows, slots, size, dtype, spread)
    scale = 1 / math.sqrt(size)
    original, lowered = pair("Attention", arrays, LowerAttention(), {"scale": scale})
    assert_as_good(run(lowered, arrays), run(original, arrays), _exact(*arrays, scale))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_shape_and_mask(data: st.DataObject) -> None:
    """In float32, against an a-priori bound: each score is a sum of ``size`` products, each output a mean of values."""
    batch, kv_heads, groups, rows, slots, size, value_size = (
        data.draw(st.integers(1, top), label=name)
        for name, top in {"batch": 3, "kv_heads": 3, "groups": 4, "rows": 5, "slots": 7, "size": 9, "width": 5}.items()
    )
    masks = [None, (rows, slots), (1, 1, rows, slots), (batch, 1, rows, slots)]
    if groups == 1:
        masks.append((batch, kv_heads, rows, slots))
    mask_shape = data.draw(st.sampled_from(masks), label="mask")
    scale = data.draw(st.sampled_from([None, 0.25, 1.0]), label="scale")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    shapes = [
        (batch, kv_heads * groups, rows, size),
        (batch, kv_heads, slots, size),
        (batch, kv_heads, slots, value_size),
    ]
    arrays: list[Array] = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    mask = None
    if mask_shape is not None:
        mask = np.where(rng.random(mask_shape) < 0.7, 0.0, MASKED).astype(np.float32)
        mask[..., 0] = 0.0  # every row sees a key
        arrays.append(mask)

    _, lowered = pair("Attention", arrays, LowerAttention(), {} if scale is None else {"scale": scale})
    query, key, value = arrays[:3]
    factor = 1 / math.sqrt(size) if scale is None else scale
    largest = factor * np.abs(query).max() * np.abs(key).max() * size
    bound = (size + slots + 4) * np.finfo(np.float32).eps * (1 + largest) * np.abs(value).max()
    np.testing.assert_allclose(
        on_onnxruntime(lowered, arrays), _exact(query, key, value, mask, factor), rtol=0, atol=bound
    )


@pytest.mark.parametrize("run", [on_onnxruntime, on_reference])
def test_scores_do_not_overflow_float16(run: Run) -> None:
    """``q . k`` is 102400, beyond float16; the score, 12800, is not, and neither is a masked one."""
    query, key, value, mask = _inputs(2, 1, 4, 6, 64, np.float16)
    arrays = [np.full_like(query, 40.0), np.full_like(key, 40.0), value, mask]
    _, lowered = pair("Attention", arrays, LowerAttention(), {"scale": 0.125})
    exact = _exact(*arrays, 0.125)
    assert_as_good(run(lowered, arrays), exact.astype(np.float16), exact)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_masked_slot_has_no_weight_at_all(dtype: Any) -> None:
    arrays = _inputs(4, 2, 3, 8, 16, dtype)
    arrays[3][:, 5:] = MASKED
    _, lowered = pair("Attention", arrays, LowerAttention(), {"scale": 0.25})
    before = on_onnxruntime(lowered, arrays)
    arrays[1][:, :, 5:], arrays[2][:, :, 5:] = 30.0, 1000.0  # what a cache may still hold of an older request
    np.testing.assert_array_equal(on_onnxruntime(lowered, arrays), before)


def test_float32_stays_free_of_conversions() -> None:
    made = graph("Attention", _inputs(4, 2, 3, 8, 16, np.float32))
    assert apply(LowerAttention(), made)
    assert "Cast" not in {node.op_type for node in made}


def test_keys_and_values_are_never_repeated() -> None:
    _, lowered = pair("Attention", _inputs(8, 2, 3, 50, 16, np.float32), LowerAttention())
    inferred = ir.from_proto(lowered)
    ir.passes.common.ShapeInferencePass()(inferred)
    made = [value for node in inferred.graph for value in node.outputs]
    assert max(_size(value) for value in made) == 2 * 50 * 16, "a transposed key is the largest"


def _size(value: ir.Value) -> int:
    assert value.shape is not None
    return math.prod(d for d in value.shape if isinstance(d, int))


def test_layers_share_one_prepared_mask() -> None:
    made = graph("Attention", _inputs(4, 2, 3, 8, 16, np.float16))
    second = ir.node("Attention", [made.outputs[0], *made.inputs[1:]])
    made.outputs[0].shape = made.inputs[0].shape
    made.append(second)
    second.outputs[0].name, second.outputs[0].dtype, second.outputs[0].shape = (
        "z",
        ir.DataType.FLOAT16,
        ir.Shape([None] * 4),
    )
    made.outputs.append(second.outputs[0])
    assert apply(LowerAttention(), made)
    proto(made, 20)
    assert [node.op_type for node in made].count("Concat") == 1


def test_keys_cut_from_a_cache_by_a_dynamic_length() -> None:
    """As in our segments: shape inference loses every size of such a slice."""
    arrays = _inputs(4, 2, 3, 8, 16, np.float32)
    made = graph("Attention", arrays)
    node, length = next(iter(made)), ir.val("length", dtype=ir.DataType.INT64, shape=(1,))
    start, axis = (ir.node("Constant", [], {"value": ir.tensor(np.array([n]))}) for n in (0, 2))
    cut = ir.node("Slice", [made.inputs[1], start.outputs[0], length, axis.outputs[0]])
    cut.outputs[0].dtype, cut.outputs[0].shape = ir.DataType.FLOAT, ir.Shape([None] * 4)
    node.replace_input_with(1, cut.outputs[0])
    made.insert_before(node, [start, axis, cut])
    made.inputs.append(length)
    assert apply(LowerAttention(), made)


def _refused(**changes: Any) -> ir.Graph:
    arrays: list[Array | None] = [*_inputs(4, 2, 3, 8, 16, np.float32), None, None, None]
    for name, value in changes.pop("inputs", {}).items():
        arrays[int(name[1:])] = value
    while arrays[-1] is None:
        arrays.pop()
    return graph("Attention", arrays, changes)


CACHE = np.zeros((1, 2, 4, 16), np.float32)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_causal": 1}, "is_causal"),
        ({"softcap": 30.0}, "softcap"),
        ({"softmax_precision": 11}, "double"),
        ({"inputs": {"i4": CACHE, "i5": CACHE}}, "cache"),
        ({"inputs": {"i6": np.array([8])}}, "key lengths"),
        ({"inputs": {"i3": np.zeros((3, 8), np.float16)}}, "one float type"),
        ({"inputs": {"i0": np.zeros((1, 3, 64), np.float32)}}, "four dimensions"),
        ({"inputs": {"i3": np.zeros((1, 4, 3, 8), np.float32)}}, "mask of its own for each head"),
    ],
)
def test_forms_that_the_pass_does_not_know(changes: dict[str, Any], reason: str) -> None:
    made = _refused(**changes)
    with pytest.raises(PreconditionError, match=reason):
        apply(LowerAttention(), made)
    assert [node.op_type for node in made] == ["Attention"], "left as it was"


def test_a_second_output_is_refused() -> None:
    made = graph("Attention", _inputs(4, 2, 3, 8, 16, np.float32))
    node = next(iter(made))
    present = ir.Value(name="present")
    wide = ir.Node("", "Attention", node.inputs, outputs=[ir.Value(name="w"), present])
    made.append(wide)
    made.outputs.append(present)
    with pytest.raises(PreconditionError, match="more than one output"):
        apply(LowerAttention(), made)


def test_a_graph_without_attention_does_not_change() -> None:
    made = graph("Attention", _inputs(4, 2, 3, 8, 16, np.float32))
    assert apply(LowerAttention(), made)
    nodes = list(made)
    assert not apply(LowerAttention(), made)
    assert list(made) == nodes
