"""Cache updates by row numbers: the same bytes as the operator's."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_ir.passes import PreconditionError

from clasp_trt.engines.lowering.tensor_scatter import LowerTensorScatter
from tests.engines.lowering.one_node import apply, on_onnxruntime, pair


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_same_cache_for_every_shape_and_place(data: st.DataObject) -> None:
    slots, heads, capacity, size = (data.draw(st.integers(1, 6)) for _ in range(4))
    sequence = data.draw(st.integers(1, capacity))
    places = data.draw(st.lists(st.integers(0, capacity - sequence), min_size=slots, max_size=slots))
    rng = np.random.default_rng(0)
    cache, update = (rng.standard_normal((slots, heads, n, size)).astype(np.float16) for n in (capacity, sequence))
    arrays = [cache, update, np.array(places)]
    original, lowered = pair("TensorScatter", arrays, LowerTensorScatter())
    np.testing.assert_array_equal(on_onnxruntime(lowered, arrays), on_onnxruntime(original, arrays))


def _scatter(cache: tuple[int | str, ...], **attributes: str | int) -> ir.Graph:
    past = ir.val("past", dtype=ir.DataType.FLOAT, shape=cache)
    update = ir.val("update", dtype=ir.DataType.FLOAT, shape=(1, 2, "sequence", 4))
    index = ir.val("index", dtype=ir.DataType.INT64, shape=(1,))
    node = ir.node("TensorScatter", [past, update, index], attributes or None)
    node.outputs[0].name = "present"
    return ir.Graph([past, update, index], node.outputs, nodes=[node], opset_imports={"": 24}, name="scatter")


@pytest.mark.parametrize(
    ("cache", "attributes"),
    [((1, 2, 8, 4), {"mode": "circular"}), ((1, 2, 8, 4), {"axis": 1}), ((1, "heads", 8, 4), {})],
)
def test_updates_that_the_pass_does_not_know(cache: tuple[int | str, ...], attributes: dict[str, str | int]) -> None:
    graph = _scatter(cache, **attributes)
    with pytest.raises(PreconditionError, match="TensorScatter"):
        apply(LowerTensorScatter(), graph)
    assert [node.op_type for node in graph] == ["TensorScatter"], "left as it was"


def test_a_graph_without_updates_does_not_change() -> None:
    graph = _scatter((1, 2, 8, 4))
    assert apply(LowerTensorScatter(), graph)
    assert graph.outputs[0].name == "present"
    nodes = list(graph)
    assert not apply(LowerTensorScatter(), graph)
    assert list(graph) == nodes
