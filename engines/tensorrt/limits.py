"""What the builder is known to refuse, or to get wrong without a word: found in the graph before the parser sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx

from clasp_trt.errors import BackendError
from clasp_trt.targets import MAX_TOPK

_REFUSED = frozenset({"NonZero", "Compress", "Unique"})
_SCATTERS = frozenset({"ScatterND", "ScatterElements"})
_PAST, _LENGTHS = (4, 5), 6  # inputs of Attention: past_key and past_value, nonpad_kv_seqlen


def check(model: onnx.ModelProto, name: str) -> None:
    """Raises :class:`BackendError` for the first node of the plain graph ``name`` that no TensorRT builds rightly."""
    small = _constants(model)
    for node in model.graph.node:
        for problem in _problems(node, small.get):
            raise BackendError(
                f"graph {name}: {node.op_type} {node.name}: {problem}, which TensorRT does not build; "
                "use --backend onnxruntime"
            )


def _problems(node: onnx.NodeProto, constant: Callable[[str], onnx.TensorProto | None]) -> Iterator[str]:
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type in _REFUSED:
        yield "an output whose size depends on the data"
    if node.op_type in _SCATTERS and values.get("reduction", b"none") != b"none":
        yield "a scatter with a reduction"
    if node.op_type == "Resize" and values.get("antialias"):
        yield "an antialiased resize"
    if node.op_type == "TopK":
        size = constant(node.input[1])
        if size is not None and int(onnx.numpy_helper.to_array(size).item()) > MAX_TOPK:
            yield f"it takes the {int(onnx.numpy_helper.to_array(size).item())} largest, more than {MAX_TOPK}"
    if node.op_type == "Attention":
        yield from _attention(node, values)


def _attention(node: onnx.NodeProto, values: dict[str, object]) -> Iterator[str]:
    given = [index for index, source in enumerate(node.input) if source]
    if any(index in given for index in _PAST) or len([output for output in node.output if output]) > 1:
        yield "attention that keeps its own cache or has a second output"
    if _LENGTHS in given:
        yield "attention with key lengths, which the parser would drop"  # silently: the answer would be wrong
    if values.get("is_causal") and 3 in given:
        yield "attention that is causal and has a mask too"
    if values.get("softcap"):
        yield "attention with a soft cap"


def _constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Tensors that are held in the graph itself, by the name of their value."""
    held = {tensor.name: tensor for tensor in model.graph.initializer if not tensor.external_data}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            held[node.output[0]] = node.attribute[0].t
    return held
