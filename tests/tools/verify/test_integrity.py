"""A bundle by itself: the first file at fault is named, and what could not be looked at is said."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from clasp_trt.bundle import Bundle, Graph, HashMismatch
from clasp_trt.errors import BackendError, BundleError
from clasp_trt.runtime.backends.ort import OrtRunner
from clasp_trt.tools.verify.integrity import check
from tests.mistakes import says
from tests.tools.verify.conftest import Tamper

Change = Callable[[onnx.ModelProto], None]


def edit(change: Change) -> Callable[[Path], None]:
    """Changes a graph's own file; its weights beside it stay."""

    def run(path: Path) -> None:
        model = onnx.load(path, load_external_data=False)
        change(model)
        path.write_bytes(model.SerializeToString())

    return run


def test_whole_bundle(built: Callable[..., Bundle]) -> None:
    bundle = built()
    found = check(bundle)
    assert (found.files, found.graphs, found.skipped) == (len(bundle.manifest.files), 12, ())


def test_flipped_bit(built: Callable[..., Bundle], tampered: Tamper) -> None:
    bundle = tampered(built(), "tokenizer.json", lambda path: None)
    weights = bundle.path("graphs/segment_1.onnx.data")
    data = bytearray(weights.read_bytes())
    data[100] ^= 1
    weights.write_bytes(data)
    with pytest.raises(HashMismatch, match=r"graphs/segment_1\.onnx\.data: its SHA-256 is"):
        check(bundle)


def invalid(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Nonsense"


def wider(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 17


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (invalid, r"graphs/projector\.onnx: not a valid ONNX graph \("),
        (wider, r"graphs/projector\.onnx: has output visual: float32\[batch, 17, 48\], where the manifest states"),
    ],
)
def test_graph_at_fault(built: Callable[..., Bundle], tampered: Tamper, change: Change, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        check(tampered(built(), "graphs/projector.onnx", edit(change)))


def elsewhere(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = ".weights" if entry.key == "location" else entry.value


def test_weights_that_are_not_listed(built: Callable[..., Bundle], tampered: Tamper) -> None:
    """A name that opening passes over must not bring weights that nobody hashed."""
    bundle = tampered(built(), "graphs/projector.onnx", edit(elsewhere))
    shutil.copy(bundle.path("graphs/projector.onnx.data"), bundle.root / "graphs" / ".weights")
    with pytest.raises(BundleError) as caught:
        check(bundle)
    says(caught, "graphs/projector.onnx", "graphs/.weights", "clasp.json")


def test_a_bundle_of_links(built: Callable[..., Bundle], tmp_path: Path) -> None:
    """As a hub's cache holds it: it is verified, and answers."""
    snapshot = tmp_path / "models--me--b" / "snapshots" / "0123"
    for name in (*built().manifest.files, "clasp.json"):
        blob, link = tmp_path / "models--me--b" / "blobs" / name.replace("/", "-"), snapshot / name
        blob.parent.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(built().root / name, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    assert check(Bundle.open(snapshot)).graphs == 12


def test_without_onnx_the_backend_still_tells(
    built: Callable[..., Bundle], tampered: Tamper, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tampered(built(), "graphs/projector.onnx", edit(invalid))
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr("clasp_trt.tools.verify.integrity.find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"graphs/projector\.onnx: ONNX Runtime .* refused projector\.onnx"):
        check(bundle)
    assert check(built()).skipped == (
        "graphs were not checked against the ONNX standard; pip install 'clasp-trt[build]'",
    )


def test_portable_bundle_is_checked_but_not_loaded(built: Callable[..., Bundle]) -> None:
    (skipped,) = check(built(target=None)).skipped
    assert skipped.startswith("graphs were not loaded: ")


# What a request would stumble over, in files that are hashed anew


def test_a_tokenizer_that_is_none(built: Callable[..., Bundle], tampered: Tamper) -> None:
    wrong = tampered(built(), "tokenizer.json", lambda path: path.write_text("{}") and None)
    with pytest.raises(BundleError) as error:
        check(wrong)
    says(error, wrong.root, "tokenizer.json")


def test_a_template_that_is_no_text(built: Callable[..., Bundle], tampered: Tamper) -> None:
    wrong = tampered(built(), "chat_template.jinja", lambda path: path.write_bytes(b"\xff") and None)
    with pytest.raises(BundleError) as error:
        check(wrong)
    says(error, wrong.root, "chat_template.jinja", "rebuild")


def test_a_template_without_a_picture(built: Callable[..., Bundle], tampered: Tamper) -> None:
    wrong = tampered(built(), "chat_template.jinja", lambda path: path.write_text("{{ bos_token }}") and None)
    with pytest.raises(BundleError) as error:
        check(wrong)
    says(error, wrong.root, "chat template")


def test_a_router_that_is_none_of_a_portable_bundle(built: Callable[..., Bundle], tampered: Tamper) -> None:
    wrong = tampered(built(target=None), "router.json", lambda path: path.write_text('{"schema": 1}') and None)
    with pytest.raises(BundleError) as error:
        check(wrong)
    says(error, wrong.root, "router.json")


def outside(model: onnx.ModelProto) -> None:
    """Looks ids up beyond the table, which no check of a graph can tell."""
    lookup = next(node for node in model.graph.node if node.op_type == "Gather")
    add = onnx.helper.make_node("Add", [lookup.input[1], "beyond"], ["ids_beyond"])
    lookup.input[1] = "ids_beyond"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(10**6), "beyond"))
    model.graph.node.insert(list(model.graph.node).index(lookup), add)


def test_a_graph_that_loads_and_fails(built: Callable[..., Bundle], tampered: Tamper) -> None:
    with pytest.raises(BackendError) as error:
        check(tampered(built(), "graphs/embed.onnx", edit(outside)))
    says(error, "graph embed")


def test_every_graph_is_loaded_once(built: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not a request asks for it; only one is held at a time."""
    from clasp_trt.runtime.backends.ort import OrtBackend

    loaded: list[str] = []
    load = OrtBackend.load_graph

    def noted(self: OrtBackend, path: Path, graph: Graph) -> OrtRunner:
        loaded.append(graph.name)
        return load(self, path, graph)

    monkeypatch.setattr(OrtBackend, "load_graph", noted)
    bundle = built()
    check(bundle)
    assert sorted(loaded) == sorted(graph.name for graph in bundle.manifest.graphs)
