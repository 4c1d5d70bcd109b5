"""Lowered copies of a bundle's graphs compute what the opset 24 originals compute, caches in place included."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx_ir.passes import PostconditionError, PreconditionError

from clasp_trt.bundle import Bundle, Graph
from clasp_trt.engines.lowering import lower_file
from clasp_trt.engines.lowering.rms_normalization import LowerRMSNormalization

Array = NDArray[Any]
SIZES = {"slots": 1, "sequence": 5, "reference": 2, "visual_tokens": 2, "batch": 2, "scores": 1}
YOUNG = {"Attention", "RotaryEmbedding", "RMSNormalization"}  # of opset 23


@pytest.fixture(params=["fp32", pytest.param("fp16", marks=pytest.mark.full)])
def bundle(request: pytest.FixtureRequest, built: Callable[..., Bundle]) -> Bundle:
    return built(precision=request.param)


def _copy(bundle: Bundle, to: Path) -> Path:
    return Path(shutil.copytree(bundle.root / "graphs", to / "graphs")).parent


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _inputs(graph: Graph, filled: int = 3) -> dict[str, Array]:
    """Plausible inputs for any graph of the bundle: every index is in range, whatever the graph does with it.

    Floats are representable in float16, so that graphs of two precisions can be asked the same.
    """
    rng = np.random.default_rng(0)
    counters = {
        "position_ids": np.arange(filled, filled + 5)[None],
        "write_index": np.array([filled]),
        "kv_length": np.array([filled + 5]),
        "scored": np.array([4]),
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
            inputs[port.name] = rng.standard_normal(shape).astype(np.float16).astype(port.dtype)
    return inputs


def _run(path: Path, graph: Graph) -> dict[str, Array]:
    outputs = _session(path).run(None, _inputs(graph))
    return dict(zip([port.name for port in graph.outputs], outputs, strict=True))


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for body in (model.graph, *model.functions):
        yield from body.node


def _opsets(model: onnx.ModelProto) -> set[int]:
    imports = [*model.opset_import, *(entry for function in model.functions for entry in function.opset_import)]
    return {entry.version for entry in imports if entry.domain == ""}


@pytest.mark.parametrize("opset", [20, 22, 23])
def test_lowered_graphs_declare_what_they_are(bundle: Bundle, tmp_path: Path, opset: int) -> None:
    root = _copy(bundle, tmp_path)
    for graph in bundle.manifest.graphs:
        original = onnx.load(bundle.path(graph.path), load_external_data=False)
        assert _opsets(original) == {24}
        assert lower_file(root / graph.path, opset)
        lowered = onnx.load(root / graph.path, load_external_data=False)
        onnx.checker.check_model(str(root / graph.path), full_check=True)
        assert _opsets(lowered) == {opset}
        assert list(lowered.graph.input) == list(original.graph.input)
        assert list(lowered.graph.output) == list(original.graph.output)
        assert lowered.graph.doc_string == original.graph.doc_string
        assert [function.name for function in lowered.functions] == [function.name for function in original.functions]
        gone = {"TensorScatter"} | (YOUNG if opset < 23 else set())
        assert not gone & {node.op_type for node in _nodes(lowered)}
    assert not list(root.rglob("*.lowered"))


@pytest.mark.parametrize("opset", [20, 22, 23])
@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.full)])
@pytest.mark.full
def test_lowered_graphs_compute_the_same(
    built: Callable[..., Bundle], tmp_path: Path, precision: str, opset: int
) -> None:
    """To the bit where nothing was written out; else as well as float16 can, or float32, which is 2**13 times finer."""
    wide, narrow = built(precision="fp32"), built(precision="fp16")
    bundle, steps = (wide, 2.0**-13) if precision == "fp32" else (narrow, 1.0)
    root = _copy(bundle, tmp_path)
    for graph in bundle.manifest.graphs:
        lower_file(root / graph.path, opset)
        before, after = _run(bundle.path(graph.path), graph), _run(root / graph.path, graph)
        young = YOUNG & {node.op_type for node in _nodes(onnx.load(bundle.path(graph.path), load_external_data=False))}
        if opset == 23 or not young:
            for name in before:
                np.testing.assert_array_equal(after[name], before[name], err_msg=f"{graph.name}: {name}")
            continue
        exact = _run(wide.path(graph.path), wide.graph(graph.name))
        half = _run(narrow.path(graph.path), narrow.graph(graph.name))
        for name in before:
            baseline = np.abs(half[name].astype(np.float64) - exact[name]).max() * steps
            np.testing.assert_allclose(
                after[name].astype(np.float64), exact[name], rtol=0, atol=4 * baseline, err_msg=f"{graph.name}: {name}"
            )


@pytest.mark.full
@pytest.mark.parametrize("opset", [24, 20])
def test_float32_products_are_written_out_on_request(built: Callable[..., Bundle], tmp_path: Path, opset: int) -> None:
    """In fp16, where they are those of saliency and selection; indices stay, floats within rounding of float32."""
    bundle = built(precision="fp16")
    root, plain = _copy(bundle, tmp_path / "written"), _copy(bundle, tmp_path / "plain")
    for graph in bundle.manifest.graphs:
        lower_file(root / graph.path, opset, decompose_float32=True, inline=True)
        lowered = ir.load(root / graph.path)
        ir.passes.common.ShapeInferencePass()(lowered)
        products = [node.inputs[0] for node in lowered.graph if node.op_type == "MatMul"]
        assert ir.DataType.FLOAT not in {value.dtype for value in products if value is not None}, graph.name
        lower_file(plain / graph.path, opset, inline=True)
        before, after = _run(plain / graph.path, graph), _run(root / graph.path, graph)
        for name in before:
            if before[name].dtype.kind in "ib":
                np.testing.assert_array_equal(after[name], before[name], err_msg=f"{graph.name}: {name}")
            else:
                largest = np.abs(before[name].astype(np.float64)).max(initial=0)
                np.testing.assert_allclose(after[name], before[name], rtol=0, atol=2.0**-19 * largest)


@pytest.mark.parametrize("opset", [24, 20])
def test_inlined_graphs_are_plugin_free_and_select_the_same(bundle: Bundle, tmp_path: Path, opset: int) -> None:
    root = _copy(bundle, tmp_path)
    for graph in bundle.manifest.graphs:
        had = bool(onnx.load(root / graph.path, load_external_data=False).functions)
        assert had == graph.name.startswith("prune")
        assert lower_file(root / graph.path, opset, inline=True) == (had or opset == 20)
        inlined = onnx.load(root / graph.path, load_external_data=False)
        assert not inlined.functions
        assert {entry.domain: entry.version for entry in inlined.opset_import} == {"": opset}
        assert {node.domain for node in inlined.graph.node} == {""}
        assert not any(a.name.startswith("plugin_") for node in inlined.graph.node for a in node.attribute)
        if had:
            before, after = _run(bundle.path(graph.path), graph), _run(root / graph.path, graph)
            for name in before:
                np.testing.assert_array_equal(after[name], before[name], err_msg=f"{graph.name}: {name}")


@pytest.mark.parametrize("opset", [20, 23])
def test_weights_stay_in_their_files(bundle: Bundle, tmp_path: Path, opset: int) -> None:
    root = _copy(bundle, tmp_path)
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in root.rglob("*.data")}
    for graph in bundle.manifest.graphs:
        lower_file(root / graph.path, opset)
    assert before == {path: hashlib.sha256(path.read_bytes()).digest() for path in root.rglob("*.data")}
    assert (root / "graphs" / "segment_0.onnx").stat().st_size < 100_000


def test_weights_are_never_read(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _copy(bundle, tmp_path) / "graphs" / "segment_0.onnx"
    read: list[str] = []
    monkeypatch.setattr(ir.ExternalTensor, "_load", lambda tensor: read.append(tensor.name))
    lower_file(path, 20, inline=True)
    assert read == []


@pytest.mark.parametrize("opset", [24, 23, 20])
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


@pytest.mark.parametrize("opset", [23, 20])
def test_a_step_of_several_slots_is_the_same(bundle: Bundle, tmp_path: Path, opset: int) -> None:
    """Three of different fill: caches to the bit, and rows within the rounding of their precision."""
    root, graph = _copy(bundle, tmp_path), bundle.graph("segment_1")
    lower_file(root / graph.path, opset)
    rng, places, sizes = np.random.default_rng(0), [7, 0, 3], {"slots": 3, "sequence": 1}
    inputs: dict[str, Array] = {}
    for port in graph.inputs:
        shape = [sizes.get(d, 0) if isinstance(d, str) else d for d in port.shape]
        inputs[port.name] = rng.standard_normal(shape).astype(port.dtype)
    inputs |= {"position_ids": np.array(places)[:, None], "write_index": np.array(places), "kv_length": np.array([8])}
    before, after = (_session(path).run(None, inputs) for path in (bundle.path(graph.path), root / graph.path))
    for port, one, other in zip(graph.outputs, before, after, strict=True):
        # what the first layer writes comes of its inputs alone
        allowed = 16 * float(np.finfo(one.dtype).eps) * np.abs(one.astype(np.float64)).max(initial=0)
        np.testing.assert_allclose(other.astype(np.float64), one, rtol=0, atol=allowed, err_msg=port.name)
        if port.name.startswith("present_"):
            past = inputs[port.name.replace("present", "past")]
            slots, written = np.nonzero((other != past).any(axis=(1, 3)))
            assert (slots.tolist(), written.tolist()) == ([0, 1, 2], places), "a row of each slot, at its own place"


def test_a_graph_that_is_old_enough_is_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    path = _copy(bundle, tmp_path) / "graphs" / "segment_0.onnx"
    original = path.read_bytes()
    assert not lower_file(path, 24)
    assert path.read_bytes() == original
    assert lower_file(path, 23)
    lowered = path.read_bytes()
    assert lowered != original
    for opset in (23, 24):
        assert not lower_file(path, opset)
        assert path.read_bytes() == lowered


def test_lowering_in_two_steps_is_lowering_in_one(bundle: Bundle, tmp_path: Path) -> None:
    one, two = (_copy(bundle, tmp_path / name) / "graphs" / "segment_3.onnx" for name in ("one", "two"))
    lower_file(one, 20)
    lower_file(two, 23)
    lower_file(two, 20)
    graph = bundle.graph("segment_3")
    first, second = _run(one, graph), _run(two, graph)
    for name in first:
        np.testing.assert_array_equal(second[name], first[name], err_msg=name)


def test_the_same_file_twice_is_the_same_to_the_byte(bundle: Bundle, tmp_path: Path) -> None:
    paths = [_copy(bundle, tmp_path / name) / "graphs" / "segment_0.onnx" for name in ("one", "two")]
    for path in paths:
        lower_file(path, 20)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("opset", [19, 25])
def test_other_opsets_are_our_bug(tmp_path: Path, opset: int) -> None:
    with pytest.raises(ValueError, match="expected 20 to 24"):
        lower_file(tmp_path / "x.onnx", opset)


SWISH = """
    <ir_version: 11, opset_import: ["": 24]>
    main (float[3] x) => (float[3] y) { y = Swish (x) }
"""
BODIES = """
    <ir_version: 11, opset_import: ["": 24, "clasp": 1]>
    main (bool c, float16[1, 4, 3, 8] q, float16[1, 2, 5, 8] k, float16[8] s) => (float16[1, 4, 3, 8] y) {
        attended = If (c) <
            then_branch = then () => (float16[1, 4, 3, 8] a) { a = Attention <scale = 0.5> (q, k, k) },
            else_branch = other () => (float16[1, 4, 3, 8] b) { b = Identity (q) }
        >
        y = clasp.norm (attended, s)
    }
    <domain: "clasp", opset_import: ["": 24]>
    norm (x, s) => (y) { y = RMSNormalization (x, s) }
"""


def test_a_file_that_cannot_be_lowered_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "swish.onnx"
    onnx.save(onnx.parser.parse_model(SWISH), path)
    original = path.read_bytes()
    with pytest.raises(PreconditionError, match=r"Swish .* has no known form in opset 20"):
        lower_file(path, 20)
    assert path.read_bytes() == original
    assert [file.name for file in tmp_path.iterdir()] == ["swish.onnx"]


def test_branches_and_functions_are_lowered_too(tmp_path: Path) -> None:
    path, model = tmp_path / "bodies.onnx", onnx.parser.parse_model(BODIES)
    onnx.save(model, path)
    rng = np.random.default_rng(0)
    feed = {
        n: rng.standard_normal(s).astype(np.float16) for n, s in {"q": (1, 4, 3, 8), "k": (1, 2, 5, 8), "s": 8}.items()
    }
    before = [_session(path).run(None, feed | {"c": np.array(c)})[0] for c in (True, False)]
    assert lower_file(path, 20)
    lowered = ir.load(path)
    nodes = [*ir.traversal.RecursiveGraphIterator(lowered.graph), *next(iter(lowered.functions.values()))]
    assert not YOUNG & {node.op_type for node in nodes}
    assert _opsets(onnx.load(path)) == {20}
    after = [_session(path).run(None, feed | {"c": np.array(c)})[0] for c in (True, False)]
    np.testing.assert_allclose(after, before, rtol=0, atol=4 * 2.0**-11 * np.abs(before).max())


def test_other_ports_than_before_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bodies.onnx"
    onnx.save(onnx.parser.parse_model(BODIES), path)
    original = path.read_bytes()

    def rename(lowering: LowerRMSNormalization, model: ir.Model) -> None:
        model.graph.outputs[0].name = "z"

    monkeypatch.setattr(LowerRMSNormalization, "ensures", rename)
    with pytest.raises(PostconditionError, match=r"bodies\.onnx would have other ports"):
        lower_file(path, 20)
    assert path.read_bytes() == original


def test_float32_products_in_functions_are_not_passed_over(built: Callable[..., Bundle], tmp_path: Path) -> None:
    """Their types are known once they are inlined."""
    path = _copy(built(), tmp_path) / "graphs" / "prune_0.onnx"
    with pytest.raises(PreconditionError, match=r"MatMul .* of unknown type"):
        lower_file(path, 24, decompose_float32=True)
    assert lower_file(path, 24, decompose_float32=True, inline=True)
