"""``Attention`` (opset 23) as ``MatMul``, ``Softmax``, ``MatMul``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.rewriting import Lowering, Scope, cast, const, expect, given, replace

_FLOAT = ir.DataType.FLOAT
_FLOATS = {_FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
_UNKNOWN = ("is_causal", "softcap", "qk_matmul_output_mode", "q_num_heads", "kv_num_heads")
"""Attributes that have to be absent or 0: what they ask for is not written out here."""


class LowerAttention(Lowering):
    """Replaces each ``Attention`` by the products it stands for.

    It knows queries ``[batch, heads, rows, head_dim]``, keys and values ``[batch, kv_heads, slots, ...]`` of known
    heads and sizes, all of one float type; no mask or an additive one of that type, ``[rows, slots]`` or with leading
    dimensions, that of the heads 1 if KV heads are shared; no cache, no second output, neither ``is_causal`` nor
    ``softcap``.

    The scale goes into the queries, as TensorRT's fusion asks and so that no score leaves float16; mask and softmax are
    float32. Query heads that share a KV head become rows of one product, so that keys and values are never repeated.
    """

    op_type = "Attention"

    def check(self, node: ir.Node) -> None:
        query, key, value, mask, *cached = (*node.inputs, None, None, None, None)[: max(4, len(node.inputs))]
        expect(query is not None and key is not None and value is not None, node, "lacks an input")
        expect(all(extra is None for extra in cached), node, "has a cache or key lengths of its own")
        in_use = any(extra.uses() or extra.is_graph_output() for extra in node.outputs[1:])
        expect(not in_use, node, "has more than one output in use")
        for name in _UNKNOWN:
            is_unset = name not in node.attributes or not node.attributes[name].value
            expect(is_unset, node, f"has {name}, which this pass does not know")
        softmax = node.attributes.get_int("softmax_precision", int(_FLOAT))
        expect(softmax != int(ir.DataType.DOUBLE), node, "asks for a softmax in double")
        types = {each.dtype for each in (query, key, value, mask) if each is not None}
        expect(len(types) == 1 and types <= _FLOATS, node, "has inputs that are not known to be of one float type")
        for each in given(query, key, value):
            shape = _unsliced(each).shape
            expect(
                shape is not None and len(shape) == 4, node, "has an input that is not known to have four dimensions"
            )
            expect(_is_known(each), node, "has an input of unknown heads or head size")
        (query_heads, _), (kv_heads, _) = (_sizes(each) for each in given(query, key))
        expect(query_heads % kv_heads == 0, node, f"has {query_heads} query heads on {kv_heads} KV heads")
        shares = query_heads != kv_heads
        is_one = mask is None or (mask.shape is not None and all(d == 1 for d in mask.shape[-3:-2]))
        expect(not shares or is_one, node, "shares KV heads and may have a mask of its own for each head")

    def rewrite(self, scope: Scope, nodes: Sequence[ir.Node]) -> None:
        masks: dict[tuple[ir.Value, int], ir.Value] = {}
        for node in nodes:
            query, key, value = given(*node.inputs[:3])
            mask = (*node.inputs, None)[3]
            dtype = query.dtype
            assert dtype is not None
            (heads, head_dim), (kv_heads, _), (_, value_dim) = _sizes(query), _sizes(key), _sizes(value)
            groups = heads // kv_heads
            tape = Tape()
            scale = node.attributes.get_float("scale", 1.0 / math.sqrt(head_dim))
            rows = tape.op("Mul", [query, const(tape, scale, dtype)])
            if groups > 1:
                rows = tape.op("Reshape", [rows, const(tape, [0, kv_heads, -1, head_dim])])
            scores = tape.op("MatMul", [rows, tape.op("Transpose", [key], {"perm": [0, 1, 3, 2]})])
            if dtype != _FLOAT:
                scores = cast(tape, scores, _FLOAT)
            if mask is not None:
                if (mask, groups) not in masks:
                    masks[mask, groups] = _for_rows(tape, mask, groups)
                scores = tape.op("Add", [scores, masks[mask, groups]])
            weights = tape.op("Softmax", [scores], {"axis": -1})
            if dtype != _FLOAT:
                weights = cast(tape, weights, dtype)
            attended = tape.op("MatMul", [weights, value])
            if groups > 1:
                attended = tape.op("Reshape", [attended, const(tape, [0, heads, -1, value_dim])])
            replace(scope, node, tape, attended)


def _for_rows(tape: Tape, mask: ir.Value, groups: int) -> ir.Value:
    """The mask in float32, once for each query head that shares a KV head: ``[..., groups * rows, slots]``."""
    wide = mask if mask.dtype == _FLOAT else cast(tape, mask, _FLOAT)
    return wide if groups == 1 else tape.op("Concat", [wide] * groups, {"axis": -2})


def _is_known(value: ir.Value) -> bool:
    """Whether :func:`_sizes` can tell those of ``value``."""
    shape = _unsliced(value).shape
    return shape is not None and len(shape) == 4 and isinstance(shape[1], int) and isinstance(shape[3], int)


def _sizes(value: ir.Value) -> tuple[int, int]:
    """``(heads, head_dim)`` of ``[batch, heads, sequence, head_dim]``."""
    shape = _unsliced(value).shape
    assert shape is not None
    _, heads, _, size = shape
    assert isinstance(heads, int)
    assert isinstance(size, int)
    return heads, size


def _unsliced(value: ir.Value) -> ir.Value:
    """Where rows of ``value`` were cut from, or else itself: inference knows no size of a slice of dynamic end."""
    node = value.producer()
    if node is None or node.op_type != "Slice" or len(node.inputs) < 4:
        return value
    data, _, _, axes = node.inputs[:4]
    constant = None if axes is None else ir.convenience.get_const_tensor(axes)
    return data if data is not None and constant is not None and constant.numpy().tolist() in ([2], [-2]) else value
