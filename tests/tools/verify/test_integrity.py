"""A bundle by itself: the first file at fault is named, and what could not be looked at is said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from clasp_trt.bundle import Bundle, HashMismatch
from clasp_trt.errors import BackendError, BundleError
from clasp_trt.tools.verify.integrity import check
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
