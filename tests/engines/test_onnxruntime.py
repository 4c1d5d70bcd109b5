"""The ONNX Runtime backend: which opset a target gets, and what happens when a graph is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest

from clasp_trt import targets
from clasp_trt.bundle import Bundle
from clasp_trt.engines.onnxruntime import compile_graphs, opset_for
from clasp_trt.errors import BackendError
from clasp_trt.targets import OLD_OPSET, PORTABLE_OPSET


@pytest.mark.parametrize(
    ("version", "target", "opset"),
    [
        ("1.23.2", "cpu", OLD_OPSET),
        ("1.24.0", "cpu", PORTABLE_OPSET),
        ("1.31.0.dev20260101", "h100", PORTABLE_OPSET),
        ("1.23.2", "thor", OLD_OPSET),
        ("1.31.0", "orin-agx-64", OLD_OPSET),
        ("1.31.0", "orin-nano-8", OLD_OPSET),
    ],
)
def test_the_newest_opset_that_both_ends_read(
    monkeypatch: pytest.MonkeyPatch, version: str, target: str, opset: int
) -> None:
    monkeypatch.setattr(ort, "__version__", version)
    assert opset_for(targets.get(target)) == opset


def test_a_bundle_for_orin_is_lowered(built: Callable[..., Bundle]) -> None:
    bundle = built(target="orin-agx-64", backend="onnxruntime")
    assert bundle.manifest.opset == OLD_OPSET
    for graph in bundle.manifest.graphs:
        model = onnx.load(bundle.path(graph.path), load_external_data=False)
        assert {entry.domain: entry.version for entry in model.opset_import}[""] == OLD_OPSET


def test_every_graph_is_loaded_once(built: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle = built()
    shutil.copytree(bundle.root / "graphs", tmp_path / "graphs")
    seen: list[tuple[str, int, int]] = []
    graphs = bundle.manifest.graphs
    compile_graphs(tmp_path, graphs, 24, lambda *step: seen.append(step))
    assert seen == [(graph.name, number, len(graphs)) for number, graph in enumerate(graphs, start=1)]


def test_a_refused_graph_is_named_in_one_line(built: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle = built()
    shutil.copytree(bundle.root / "graphs", tmp_path / "graphs")
    (tmp_path / "graphs" / "segment_2.onnx.data").unlink()
    with pytest.raises(BackendError, match=rf"^ONNX Runtime {ort.__version__}.*segment_2") as error:
        compile_graphs(tmp_path, bundle.manifest.graphs, 24, lambda *step: None)
    assert "\n" not in str(error.value)


@pytest.mark.full
def test_bfloat16_is_refused_when_the_bundle_is_built(checkpoint: Path, tmp_path: Path) -> None:
    """The CPU provider has no kernels for it; should the list of targets forget, loading each graph still finds out."""
    from clasp_trt.tools.build.compiler import build

    made = build(checkpoint, tmp_path / "portable", target=None, precision="bf16", prune_at="none", max_context=96)
    with pytest.raises(BackendError, match="refuses the graph"):
        compile_graphs(made.root, made.manifest.graphs, 24, lambda *step: None)
