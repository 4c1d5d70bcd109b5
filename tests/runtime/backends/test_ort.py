"""ONNX Runtime behind the backend interface: graphs load or say why not, tensors keep their contents, outputs land."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from clasp_trt import targets
from clasp_trt.bundle import Bundle, Graph, TensorSpec
from clasp_trt.errors import BackendError, ShortageError
from clasp_trt.runtime.backends.ort import PROVIDERS, OrtBackend
from clasp_trt.runtime.pipeline import load
from tests.mistakes import says


@pytest.fixture(scope="module")
def backend() -> OrtBackend:
    return OrtBackend()


@pytest.fixture(scope="module")
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
@pytest.mark.parametrize("shape", [(3,), (2, 0, 4), (1, 2, 3)])
def test_tensors_keep_their_contents(backend: OrtBackend, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    np.testing.assert_array_equal(backend.download(backend.upload(array)), array)
    zeros = backend.download(backend.zeros(shape, dtype))
    assert zeros.dtype == dtype
    np.testing.assert_array_equal(zeros, np.zeros(shape, dtype))


def test_a_view_uploads_as_it_looks(backend: OrtBackend) -> None:
    array = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(backend.download(backend.upload(array.T[1:, ::-1])), array.T[1:, ::-1])


def test_a_runner_sees_every_new_input(backend: OrtBackend, bundle: Bundle) -> None:
    """Bindings last from call to call; values and shapes of the next one must replace them."""
    graph = bundle.graph("embed")
    runner = backend.load(bundle.path(graph.path), graph)
    none = backend.upload(np.zeros((1, 0, 48), dtype=np.float32)), backend.upload(np.zeros(0, dtype=np.int64))
    results = []
    for ids in ([5], [6, 7, 8], [6], [5]):
        inputs = {"input_ids": backend.upload(np.array([ids])), "visual": none[0], "visual_index": none[1]}
        results.append(runner(inputs, {})["hidden"])
    rows = [backend.download(result)[0] for result in results]
    assert [len(row) for row in rows] == [1, 3, 1, 1]
    np.testing.assert_array_equal(rows[0], rows[3])
    np.testing.assert_array_equal(rows[1][:1], rows[2])
    assert not np.array_equal(rows[0], rows[2])


def test_outputs_land_where_they_are_sent(backend: OrtBackend, bundle: Bundle) -> None:
    graph = bundle.graph("embed")
    runner = backend.load(bundle.path(graph.path), graph)
    inputs = {
        "input_ids": backend.upload(np.array([[5, 9]])),
        "visual": backend.upload(np.zeros((1, 0, 48), dtype=np.float32)),
        "visual_index": backend.upload(np.zeros(0, dtype=np.int64)),
    }
    place = backend.zeros((1, 2, 48), "float32")
    expected = backend.download(runner(inputs, {})["hidden"])
    assert runner(inputs, {"hidden": place}) == {}
    np.testing.assert_array_equal(backend.download(place), expected)
    assert set(runner(inputs, {})) == {"hidden"}, "and only in that call"


def test_a_failing_run_is_one_line(backend: OrtBackend, bundle: Bundle) -> None:
    graph = bundle.graph("embed")
    runner = backend.load(bundle.path(graph.path), graph)
    inputs = {
        "input_ids": backend.upload(np.array([[10**6]])),
        "visual": backend.upload(np.zeros((1, 0, 48), dtype=np.float32)),
        "visual_index": backend.upload(np.zeros(0, dtype=np.int64)),
    }
    with pytest.raises(BackendError, match="graph embed") as error:
        runner(inputs, {})
    assert "\n" not in str(error.value)


def test_ports_that_the_manifest_does_not_state(backend: OrtBackend, bundle: Bundle) -> None:
    graph = bundle.graph("embed")
    with pytest.raises(BackendError, match=r"embed\.onnx has ports"):
        backend.load(bundle.path(graph.path), replace(graph, inputs=graph.inputs[:-1]))


@pytest.mark.parametrize(
    ("change", "fact"), [({"shape": (1, 1, 10**9, 1)}, "1000000000"), ({"dtype": "float16"}, "float16")]
)
def test_a_cache_that_only_the_manifest_knows(
    backend: OrtBackend, bundle: Bundle, change: dict[str, Any], fact: str
) -> None:
    """A capacity that all of the manifest agrees on is still not the graph's: nothing is allocated by it."""
    graph = bundle.graph("segment_0")
    forged = tuple(replace(each, **change) if each.name == "past_key_0" else each for each in graph.inputs)
    with pytest.raises(BackendError, match=f"segment_0.*past_key_0.*{fact}"):
        backend.load(bundle.path(graph.path), replace(graph, inputs=forged))


def test_an_output_that_only_the_manifest_knows(backend: OrtBackend, bundle: Bundle) -> None:
    graph = bundle.graph("projector")
    forged = tuple(replace(each, shape=("batch", 17, 48)) for each in graph.outputs)
    with pytest.raises(BackendError, match=r"projector.*visual.*17"):
        backend.load(bundle.path(graph.path), replace(graph, outputs=forged))


@pytest.mark.parametrize("name", [b"visual", b"batch"])
def test_names_of_ports_that_are_no_text(backend: OrtBackend, bundle: Bundle, tmp_path: Path, name: bytes) -> None:
    """ONNX Runtime takes any bytes for the name of a port or a dimension."""
    graph = bundle.graph("gram")
    data = bundle.path(graph.path).read_bytes()
    assert name in data
    path = tmp_path / "gram.onnx"
    path.write_bytes(data.replace(name, b"\xde" * len(name)))
    with pytest.raises(BackendError) as error:
        backend.load(path, graph)
    says(error, "gram.onnx")


@pytest.mark.parametrize("slots", [10**13, 2**62])
def test_a_tensor_beyond_any_memory(backend: OrtBackend, slots: int) -> None:
    with pytest.raises(ShortageError) as error:
        backend.zeros((1, 2, slots, 64), "float32")
    says(error, f"float32[1, 2, {slots}, 64]", f"{slots * 512 / 1e9:,.0f} GB")


def test_no_rows_of_a_width_beyond_any_memory(backend: OrtBackend) -> None:
    """Which takes no memory, and which numpy refuses all the same."""
    with pytest.raises(ShortageError):
        backend.zeros((1, 0, 2**62), "float32")


@pytest.mark.parametrize("message", ["std::bad_alloc", "Failed to allocate memory for requested buffer of size 7000"])
def test_memory_that_ends_while_a_graph_loads_or_runs(
    backend: OrtBackend, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    """ONNX Runtime has no class of its own for it; the file is not at fault, and is not called so."""

    def ended(*words: object, **more: object) -> None:
        raise RuntimeError(message)

    graph = bundle.graph("gram")
    runner = backend.load(bundle.path(graph.path), graph)
    visual = backend.upload(np.ones((1, 16, 48), np.float32))
    with monkeypatch.context() as patch:
        patch.setattr(ort.InferenceSession, "run_with_iobinding", ended)
        with pytest.raises(ShortageError) as error:
            runner({"visual": visual}, {})
    says(error, "graph gram", message)
    monkeypatch.setattr(ort, "InferenceSession", ended)
    with pytest.raises(ShortageError) as error:
        backend.load(bundle.path(graph.path), graph)
    says(error, "gram.onnx", "GB")


@pytest.mark.parametrize("content", [None, b"", b"no graph", b"\x08\x0b"])
def test_a_file_that_is_no_graph(backend: OrtBackend, bundle: Bundle, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "embed.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BackendError, match=r"refused embed\.onnx") as error:
        backend.load(path, bundle.graph("embed"))
    assert "\n" not in str(error.value)


def test_too_little_memory_is_no_fault_of_the_bundle(
    backend: OrtBackend, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("pthread_create failed, error code: 12 error msg: Cannot allocate memory")

    monkeypatch.setattr("onnxruntime.InferenceSession", fail)
    graph = bundle.graph("embed")
    with pytest.raises(BackendError, match=r"not enough memory.*embed\.onnx"):
        backend.load(bundle.path(graph.path), graph)


# --- other providers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("provider", "lacks"), [("cuda", "CUDA"), ("tensorrt", "Tensorrt")])
def test_a_provider_that_is_not_installed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, provider: str, lacks: str
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    told = rf"^onnxruntime \S+ here has no {lacks}ExecutionProvider; put onnxruntime-gpu in its place"
    with pytest.raises(BackendError, match=told):
        load(bundle.root, provider=provider)
    load(bundle.root, provider="cpu")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_does_not_load(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    """ONNX Runtime then takes the CPU and only warns; so does the session here, which is a real one."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider", *PROVIDERS[provider]])
    session, asked = ort.InferenceSession, list[object]()

    def on_the_cpu(
        path: str | bytes, options: ort.SessionOptions, providers: list[object], **_: object
    ) -> ort.InferenceSession:
        if isinstance(path, str):  # not the router's, which stays on the CPU
            asked.append(providers)
        return session(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr("onnxruntime.InferenceSession", on_the_cpu)
    told = rf"cannot load {PROVIDERS[provider][0]}, and would compute vision on the CPU; check that the CUDA"
    with pytest.raises(BackendError, match=told):
        load(bundle.root, provider=provider)
    cuda = ("CUDAExecutionProvider", {"use_tf32": "0"})
    assert asked == [[cuda] if provider == "cuda" else [("TensorrtExecutionProvider", {}), cuda]]


def test_tensors_of_another_provider_stay_on_the_device(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor that is made, and every output that is bound, is on the GPU; nothing is without being asked for."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [*PROVIDERS["cuda"], "CPUExecutionProvider"])
    made, bound, session = list[str](), list[str](), ort.InferenceSession
    value = ort.OrtValue.ortvalue_from_numpy

    def from_numpy(array: np.ndarray, device: str = "cpu") -> ort.OrtValue:
        made.append(device)
        return value(array)

    class Binding:
        def __init__(self, inner: ort.IOBinding) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        def bind_output(self, name: str, device: str) -> None:
            bound.append(device)
            self._inner.bind_output(name, "cpu")

    class Session:
        def __init__(self, path: str, options: ort.SessionOptions, providers: list[object], **_: object) -> None:
            self._inner = session(path, options, providers=["CPUExecutionProvider"])

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        def get_providers(self) -> list[str]:
            return [*PROVIDERS["cuda"], "CPUExecutionProvider"]

        def io_binding(self) -> Binding:
            return Binding(self._inner.io_binding())

        def run_with_iobinding(self, binding: Binding, options: ort.RunOptions | None) -> None:
            self._inner.run_with_iobinding(binding._inner)  # whose arena is not of this device

    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    monkeypatch.setattr("onnxruntime.OrtValue.ortvalue_from_numpy", from_numpy)
    found = load(bundle.root, provider="cuda").generate(None, "Hello", max_new_tokens=4)
    monkeypatch.undo()
    assert set(made) == set(bound) == {"cuda"}
    assert found.token_ids == load(bundle.root).generate(None, "Hello", max_new_tokens=4).token_ids


def test_a_provider_of_another_name(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match="provider is 'gpu'"):
        load(bundle.root, provider="gpu")
    assert tuple(PROVIDERS) == targets.PROVIDERS


def test_bfloat16_is_refused_in_a_sentence(backend: OrtBackend) -> None:
    with pytest.raises(BackendError, match="bfloat16"):
        backend.zeros((1, 2), "bfloat16")


def test_writing_replaces_the_contents_in_place(backend: OrtBackend) -> None:
    tensor = backend.zeros((1, 2), "int64")
    backend.write(tensor, np.array([[3, 4]]))
    assert backend.download(tensor).tolist() == [[3, 4]]


def _resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_what_a_call_computed_in_is_given_back_but_by_a_step(tmp_path: Path) -> None:
    """200 MB between input and output: of a prefill they go, of a step, which soon comes again, they stay."""
    nodes = [
        helper.make_node("Expand", ["x", "size"], ["wide"]),
        helper.make_node("ReduceSum", ["wide"], ["y"], keepdims=0),
    ]
    ports = [("x", TensorProto.FLOAT, [1]), ("size", TensorProto.INT64, [1]), ("y", TensorProto.FLOAT, [])]
    infos = [helper.make_tensor_value_info(*port) for port in ports]
    model = helper.make_graph(nodes, "wide", infos[:2], infos[2:])
    onnx.save(helper.make_model(model, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "g.onnx")
    x, size = TensorSpec("x", "float32", (1,)), TensorSpec("size", "int64", (1,))
    graph = Graph("wide", "g.onnx", (x, size), (TensorSpec("y", "float32", ()),))
    backend = OrtBackend(threads=1)
    runner = backend.load(tmp_path / "g.onnx", graph)

    def run(numbers: int) -> None:
        runner({name: backend.upload(array) for name, array in (("x", ones), ("size", np.array([numbers])))}, {})

    ones = np.ones(1, dtype=np.float32)
    run(1)  # what an arena takes first it keeps
    before = _resident()
    run(50_000_000)
    assert _resident() - before < 50e6
    backend.repeat("step", lambda: run(50_000_000))
    assert _resident() - before > 150e6
