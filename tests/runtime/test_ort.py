"""ONNX Runtime behind the backend interface: graphs load or say why not, tensors keep their contents, outputs land."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError
from clasp_trt.runtime.ort import OrtBackend


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
    with pytest.raises(BackendError, match=r"^ONNX Runtime failed in graph embed: ") as error:
        runner(inputs, {})
    assert "\n" not in str(error.value)


def test_ports_that_the_manifest_does_not_state(backend: OrtBackend, bundle: Bundle) -> None:
    graph = bundle.graph("embed")
    with pytest.raises(BackendError, match=r"embed\.onnx has ports .* but the manifest states"):
        backend.load(bundle.path(graph.path), replace(graph, inputs=graph.inputs[:-1]))


@pytest.mark.parametrize("content", [None, b"", b"no graph", b"\x08\x0b"])
def test_a_file_that_is_no_graph(backend: OrtBackend, bundle: Bundle, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "embed.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BackendError, match=r"refused embed\.onnx") as error:
        backend.load(path, bundle.graph("embed"))
    assert "\n" not in str(error.value)
