"""Bundles whose decoder was rounded by questions, against their checkpoint: integers are theirs; faults are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.tools.verify import Drift, Report
from clasp_trt.tools.verify.parity import compare
from examples.random_llava import PRESETS, make
from tests.mistakes import says
from tests.tools.verify.conftest import Tamper

pytestmark = pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")

NAME = "layers.2.mlp.down_proj.weight"


def report(bundle: Bundle, checkpoint: Path) -> Report:
    from clasp_trt.tools.profile.workload import noise

    return compare(bundle, str(checkpoint), [noise(bundle)], "Is this a bird?")


def graph_of(bundle: Bundle, layer: int) -> str:
    (segment,) = (each for each in bundle.manifest.segments if each.first_layer <= layer <= each.last_layer)
    return bundle.graph(segment.graph).path


@pytest.mark.parametrize(
    "options",
    [
        {"quantize": "int4:32"},
        pytest.param({"quantize": "decoder=int8"}, marks=pytest.mark.full),
        pytest.param(
            {"quantize": "int4:32", "precision": "fp16", "target": "l4", "backend": "onnxruntime"},
            marks=pytest.mark.full,
        ),
    ],
    ids=str,
)
def test_it_agrees_in_every_form_that_integers_have(
    built: Callable[..., Bundle], checkpoint: Path, asked: Path, options: dict[str, str]
) -> None:
    found = report(built(**options, calibration=str(asked)), checkpoint)
    found.require()
    checked = [check.output for check in found.checks if check.stage.startswith("segment_")]
    assert {f"layer {layer} {what}" for layer in range(4) for what in ("integers", "rounding")} <= set(checked)


@pytest.mark.parametrize("part", ["", "_scale"], ids=["integer", "scale"])
def test_one_integer_or_scale_that_is_another_is_named(
    built: Callable[..., Bundle], checkpoint: Path, asked: Path, tampered: Tamper, part: str
) -> None:
    whole = built(quantize="int4:32", calibration=str(asked))
    path = graph_of(whole, 2)
    model = onnx.load(whole.path(path), load_external_data=False)
    (tensor,) = (each for each in model.graph.initializer if each.name == f"{NAME}{part}_by_output")
    offset = next(int(each.value) for each in tensor.external_data if each.key == "offset")

    def change(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[offset] ^= 1
        file.write_bytes(data)

    found = report(tampered(whole, f"{path}.data", change), checkpoint)
    drift = found.first_drift
    assert drift is not None
    says(drift.output, "layer 2 integers", NAME)
    assert drift.error == 1
    with pytest.raises(Drift) as error:
        found.require()
    says(error, NAME, path)


def test_integers_of_another_checkpoint_are_told(built: Callable[..., Bundle], asked: Path, tmp_path: Path) -> None:
    """They are what was made, and change these weights by more than they changed their own."""
    other = make(tmp_path / "other", PRESETS["tiny"], seed=1)
    found = report(built(quantize="int4:32", calibration=str(asked)), other)
    failed = {check.output for check in found.checks if not check.passed}
    assert {f"layer {layer} rounding" for layer in range(4)} <= failed
    assert not any("integers" in output for output in failed)
