"""Opset 23 copies of graphs compute what the opset 24 originals compute, caches in place included."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from clasp_trt.bundle import Bundle, Graph
from clasp_trt.engines.lowering import lower_file
from clasp_trt.engines.lowering.tensor_scatter import lower_tensor_scatter

Array = NDArray[Any]
SIZES = {"sequence": 5, "reference": 2, "visual_tokens": 2, "batch": 2}


@pytest.fixture(params=["fp32", "fp16"])
def bundle(request: pytest.FixtureRequest, built: Callable[..., Bundle]) -> Bundle:
    return built(precision=request.param)


def _copy(bundle: Bundle, to: Path) -> Path:
    return Path(shutil.copytree(bundle.root / "graphs", to / "graphs")).parent


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _inputs(graph: Graph, filled: int = 3) -> dict[str, Array]:
    """Plausible inputs for any graph of the bundle: every index is in range, whatever the graph does with it."""
    rng = np.random.default_rng(0)
    counters = {
        "position_ids": np.arange(filled, filled + 5)[None],
        "write_index": np.array([filled]),
        "kv_length": np.array([filled + 5]),
        "reference_index": np.array([3, 4]),
        "visual_index": np.array([0, 2]),
        "pivot_count": np.array([2]),
    }
    inputs: dict[str, Array] = {}
    for port in graph.inputs:
        shape = [SIZES[d] if isinstance(d, str) else d for d in port.shape]
        if graph.name.startswith("prune"):  # its visual tokens are many
            tokens = next(p.shape[1] for p in graph.inputs if p.name == "saliency")
            assert isinstance(tokens, int)
            counters |= {"visual_index": np.arange(tokens), "position_ids": np.arange(tokens + 3)[None]}
            counters["reference_index"] = np.array([tokens, tokens + 2])
            shape = [tokens + 3 if d == "sequence" else s for d, s in zip(port.shape, shape, strict=True)]
        if port.dtype == "int64":
            inputs[port.name] = counters.get(port.name, np.zeros(shape, dtype=np.int64))
        else:
            inputs[port.name] = rng.standard_normal(shape).astype(port.dtype)
    return inputs


def test_lowered_graphs_compute_the_same(bundle: Bundle, tmp_path: Path) -> None:
    root = _copy(bundle, tmp_path)
    for graph in bundle.manifest.graphs:
        original = onnx.load(bundle.path(graph.path), load_external_data=False)
        assert {entry.domain: entry.version for entry in original.opset_import}[""] == 24
        lower_file(root / graph.path, 23)
        lowered = onnx.load(root / graph.path, load_external_data=False)
        assert {entry.domain: entry.version for entry in lowered.opset_import}[""] == 23
        for function in lowered.functions:
            assert {entry.domain: entry.version for entry in function.opset_import}[""] == 23
        assert not [node for node in lowered.graph.node if node.op_type == "TensorScatter"]
        assert list(lowered.graph.input) == list(original.graph.input)
        assert list(lowered.graph.output) == list(original.graph.output)
        assert lowered.graph.doc_string == original.graph.doc_string
        onnx.checker.check_model(str(root / graph.path), full_check=True)

        inputs = _inputs(graph)
        before = _session(bundle.path(graph.path)).run(None, inputs)
        after = _session(root / graph.path).run(None, inputs)
        for port, one, other in zip(graph.outputs, before, after, strict=True):
            # the same kernels on the same numbers
            np.testing.assert_array_equal(one, other, err_msg=f"{graph.name}: {port.name}")
    assert not list(root.rglob("*.lowered"))


def test_weights_stay_in_their_files(bundle: Bundle, tmp_path: Path) -> None:
    root = _copy(bundle, tmp_path)
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in root.rglob("*.data")}
    for graph in bundle.manifest.graphs:
        lower_file(root / graph.path, 23)
    assert before == {path: hashlib.sha256(path.read_bytes()).digest() for path in root.rglob("*.data")}
    assert (root / "graphs" / "segment_0.onnx").stat().st_size < 100_000


@pytest.mark.parametrize("opset", [24, 23])
def test_caches_update_in_place_when_past_and_present_share_a_buffer(
    bundle: Bundle, tmp_path: Path, opset: int
) -> None:
    root, graph = _copy(bundle, tmp_path), bundle.graph("segment_1")
    lower_file(root / graph.path, opset)
    session, inputs = _session(root / graph.path), _inputs(graph)
    expected = dict(zip([port.name for port in graph.outputs], session.run(None, inputs), strict=True))

    binding, buffers = session.io_binding(), {}
    for name, array in inputs.items():
        buffers[name] = ort.OrtValue.ortvalue_from_numpy(array.copy())
        binding.bind_ortvalue_input(name, buffers[name])
    for port in graph.outputs:
        if port.name.startswith("present_"):
            binding.bind_ortvalue_output(port.name, buffers[port.name.replace("present", "past")])
        else:
            binding.bind_output(port.name, "cpu")
    session.run_with_iobinding(binding)
    for port, value in zip(graph.outputs, binding.get_outputs(), strict=True):
        np.testing.assert_array_equal(value.numpy(), expected[port.name], err_msg=port.name)
        if port.name.startswith("present_"):
            past = port.name.replace("present", "past")
            assert value.data_ptr() == buffers[past].data_ptr()
            changed = (buffers[past].numpy() != inputs[past]).any(axis=(0, 1, 3))
            assert np.flatnonzero(changed).tolist() == [3, 4, 5, 6, 7], "the new rows alone"


def test_a_graph_that_is_old_enough_is_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    path = _copy(bundle, tmp_path) / "graphs" / "segment_0.onnx"
    original = path.read_bytes()
    lower_file(path, 24)
    assert path.read_bytes() == original
    lower_file(path, 23)
    lowered = path.read_bytes()
    assert lowered != original
    for opset in (23, 24):
        lower_file(path, opset)
        assert path.read_bytes() == lowered


@pytest.mark.parametrize("opset", [22, 25])
def test_other_opsets_are_our_bug(tmp_path: Path, opset: int) -> None:
    with pytest.raises(ValueError, match="expected 23 or 24"):
        lower_file(tmp_path / "x.onnx", opset)


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
    with pytest.raises(ValueError, match="TensorScatter"):
        lower_tensor_scatter(graph)
    assert [node.op_type for node in graph] == ["TensorScatter"], "left as it was"


def test_a_graph_without_updates_does_not_change() -> None:
    graph = _scatter((1, 2, 8, 4))
    assert lower_tensor_scatter(graph)
    assert graph.outputs[0].name == "present"
    nodes = list(graph)
    assert not lower_tensor_scatter(graph)
    assert list(graph) == nodes
