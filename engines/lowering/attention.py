"""``Attention`` (opset 23) as ``MatMul``, ``Softmax``, ``MatMul``."""

from __future__ import annotations

import math

import onnx_ir as ir
from onnx_ir.tape import Tape

from clasp_trt.engines.lowering.rewriting import Scope, cast, const, find, replace

_FLOAT = ir.DataType.FLOAT
_UNKNOWN = ("is_causal", "softcap", "qk_matmul_output_mode", "q_num_heads", "kv_num_heads")
"""Attributes that have to be absent or 0: what they ask for is not written out here."""


def lower_attention(scope: Scope) -> bool:
    """Replaces each ``Attention`` by the products it stands for.

    Needs: queries ``[batch, heads, rows, head_dim]``, keys and values ``[batch, kv_heads, slots, ...]`` of known heads
    and sizes, all of one float type; no mask or an additive one of that type, ``[rows, slots]`` or with leading
    dimensions, that of the heads 1 if KV heads are shared; no cache, no second output, neither ``is_causal`` nor
    ``softcap``. Ensures: no ``Attention`` is left. Returns whether there was one.

    The scale goes into the queries, as TensorRT's fusion asks and so that no score leaves float16; mask and softmax are
    float32. Query heads that share a KV head become rows of one product, so that keys and values are never repeated.
    """
    nodes = find(scope, "Attention")
    masks: dict[tuple[ir.Value, int], ir.Value] = {}
    for node in nodes:
        query, key, value, mask = _inputs(node)
        dtype, (heads, head_dim) = _dtype(node, query, key, value, mask), _sizes(node, query)
        (kv_heads, _), (_, value_dim) = _sizes(node, key), _sizes(node, value)
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
                masks[mask, groups] = _for_rows(tape, node, mask, groups)
            scores = tape.op("Add", [scores, masks[mask, groups]])
        weights = tape.op("Softmax", [scores], {"axis": -1})
        if dtype != _FLOAT:
            weights = cast(tape, weights, dtype)
        attended = tape.op("MatMul", [weights, value])
        if groups > 1:
            attended = tape.op("Reshape", [attended, const(tape, [0, heads, -1, value_dim])])
        replace(scope, node, tape, attended)
    return bool(nodes)


def _for_rows(tape: Tape, node: ir.Node, mask: ir.Value, groups: int) -> ir.Value:
    """The mask in float32, once for each query head that shares a KV head: ``[..., groups * rows, slots]``."""
    if groups > 1 and (mask.shape is None or any(d != 1 for d in mask.shape[-3:-2])):
        raise ValueError(f"Attention {node.name} shares KV heads and may have a mask of its own for each head")
    wide = mask if mask.dtype == _FLOAT else cast(tape, mask, _FLOAT)
    return wide if groups == 1 else tape.op("Concat", [wide] * groups, {"axis": -2})


def _inputs(node: ir.Node) -> tuple[ir.Value, ir.Value, ir.Value, ir.Value | None]:
    query, key, value, mask, *cached = (*node.inputs, None)[: max(4, len(node.inputs))]
    if query is None or key is None or value is None:
        raise ValueError(f"Attention {node.name} lacks an input")
    if any(extra is not None for extra in cached):
        raise ValueError(f"Attention {node.name} has a cache or key lengths of its own")
    if any(extra.uses() or extra.is_graph_output() for extra in node.outputs[1:]):
        raise ValueError(f"Attention {node.name} has more than one output in use")
    for name in _UNKNOWN:
        if name in node.attributes and node.attributes[name].value:
            raise ValueError(f"Attention {node.name} has {name}, which this pass does not know")
    if node.attributes.get_int("softmax_precision", int(_FLOAT)) == int(ir.DataType.DOUBLE):
        raise ValueError(f"Attention {node.name} asks for a softmax in double")
    return query, key, value, mask


def _dtype(node: ir.Node, *values: ir.Value | None) -> ir.DataType:
    """The one type of queries, keys, values and mask."""
    types = {value.dtype for value in values if value is not None}
    dtype = types.pop()
    if types or dtype not in (_FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
        raise ValueError(f"Attention {node.name} has inputs that are not known to be of one float type")
    return dtype


def _sizes(node: ir.Node, value: ir.Value) -> tuple[int, int]:
    """``(heads, head_dim)`` of ``[batch, heads, sequence, head_dim]``."""
    shape = _unsliced(value).shape
    if shape is None or len(shape) != 4:
        raise ValueError(f"Attention {node.name} has an input that is not known to have four dimensions")
    _, heads, _, size = shape
    if not isinstance(heads, int) or not isinstance(size, int):
        raise ValueError(f"Attention {node.name} has an input of unknown heads or head size")
    return heads, size


def _unsliced(value: ir.Value) -> ir.Value:
    """Where rows of ``value`` were cut from, or else itself: inference knows no size of a slice of dynamic end."""
    node = value.producer()
    if node is None or node.op_type != "Slice" or len(node.inputs) < 4:
        return value
    data, _, _, axes = node.inputs[:4]
    constant = None if axes is None else ir.convenience.get_const_tensor(axes)
    return data if data is not None and constant is not None and constant.numpy().tolist() in ([2], [-2]) else value
