"""A build by calibration questions: what comes of it, and what is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from clasp_trt.bundle import Bundle, roundings
from clasp_trt.bundle.roundings import ROUNDINGS
from clasp_trt.errors import BundleError, ClaspError, DataError, QuantizationError
from clasp_trt.export.weights.kept import fingerprint
from clasp_trt.quantization import Calibration
from clasp_trt.storage.hashes import file_sha256
from clasp_trt.tools.build.compiler import build
from tests.mistakes import says

pytestmark = pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")

INT4 = {"quantize": "int4:32"}


def contents(bundle: Bundle) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(bundle.root.rglob("*")) if path.is_file()}


def test_every_matrix_of_the_decoder_is_the_one_that_was_made(
    built: Callable[..., Bundle], asked: Path, checkpoint: Path
) -> None:
    bundle, plain = built(**INT4, calibration=str(asked)), built(**INT4)
    assert bundle.manifest.calibration == Calibration(
        "gptq", file_sha256(asked), 16, bundle.manifest.calibration.tokens
    )
    assert bundle.manifest.calibration.tokens > 16 * 16
    told = roundings.read(bundle.path(ROUNDINGS))
    layers = json.loads((checkpoint / "config.json").read_text())["text_config"]["num_hidden_layers"]
    assert len(told) == 7 * layers
    held: dict[str, Any] = {}
    for segment in bundle.manifest.segments:
        held |= ir.load(bundle.path(bundle.graph(segment.graph).path)).graph.initializers
    for name, each in told.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):  # others are joined with their neighbours
            packed, scales = (held[f"{name}{part}_by_output"].const_value.numpy() for part in ("", "_scale"))
            halves = np.array([[byte & 15, byte >> 4] for byte in packed.reshape(-1)])
            values = halves.reshape(len(packed), -1) - 8
            assert fingerprint(values.astype(np.int8), scales) == each.sha256
            assert values.shape == each.shape
    output, nearest = (np.mean([getattr(each, what) for each in told.values()]) for what in ("output", "nearest"))
    assert output < 0.8 * nearest
    changed, as_before = contents(bundle), contents(plain)
    others = {name for name in as_before if as_before[name] != changed[name]}
    data = {f"{segment.graph}.onnx.data" for segment in bundle.manifest.segments}
    assert others - {name.removesuffix(".data") for name in data} == {"clasp.json", *data}, "small scales lie in graphs"
    assert changed.keys() - as_before.keys() == {ROUNDINGS}


def test_the_same_bytes_twice(built: Callable[..., Bundle], asked: Path, checkpoint: Path, tmp_path: Path) -> None:
    again = build(checkpoint, tmp_path / "again", max_context=96, budget=8, **INT4, calibration=asked)
    assert contents(again) == contents(built(**INT4, calibration=str(asked)))


@pytest.mark.full
@pytest.mark.parametrize("family", ["tiny-qwen3", "tiles"])
def test_other_families(family: str, asked: Path, tmp_path: Path) -> None:
    """Deepstack and positions of three axes; tiles of a picture, and a decoder whose rows see one another."""
    from clasp_trt.tools.profile.workload import noise
    from clasp_trt.tools.verify.parity import compare
    from examples import random_qwen, random_tiles

    module = random_qwen if family in random_qwen.PRESETS else random_tiles
    preset = family if family in module.PRESETS else next(iter(module.PRESETS))
    folder = module.make(tmp_path / "checkpoint", module.PRESETS[preset])
    bundle = build(folder, tmp_path / "bundle", quantize="int4:32", calibration=asked, max_context=2048)
    compare(bundle, str(folder), [noise(bundle)], "Is this a bird?").require()


def test_rows_are_spread_over_the_file(asked: Path) -> None:
    from clasp_trt.options import Options
    from clasp_trt.tools.build.calibration import questions_of

    lines = asked.read_text().splitlines() * 10
    asked.with_name("many.jsonl").write_text("\n".join(lines))
    many = questions_of(Options(quantize="int4", calibration=asked.with_name("many.jsonl"), calibration_rows=16))
    assert many is not None
    assert [row.line for row in many.rows] == list(range(1, 161, 10))
    usual = questions_of(Options(quantize="int4", calibration=asked.with_name("many.jsonl")))
    assert usual is not None
    assert len(usual.rows) == 128


@pytest.mark.parametrize(
    ("options", "kind", "facts"),
    [
        ({"quantize": None}, QuantizationError, ["--calibration", "--quantize int4"]),
        ({"quantize": "none"}, QuantizationError, ["--calibration", "none"]),
        ({"quantize": "vision=int8"}, QuantizationError, ["--calibration", "vision int8"]),
        ({"calibration": None, "calibration_rows": 32}, QuantizationError, ["--calibration-rows", 32, "--calibration"]),
        ({"calibration_rows": 3}, QuantizationError, ["--calibration-rows", 3, 16]),
        ({"calibration_rows": 17}, DataError, ["D.jsonl", 16, 17]),
        ({"lines": 15}, DataError, ["D.jsonl", 15, 16]),
        ({"lines": 0}, DataError, ["empty"]),
        ({"row": {"image": "gone.png", "prompt": "x"}}, DataError, ["D.jsonl:17", "gone.png"]),
        ({"row": {"image": "0.png"}}, DataError, ["D.jsonl:17", "prompt"]),
        ({"row": {"image": "broken.png", "prompt": "x"}, "calibration_rows": 17}, DataError, ["D.jsonl:17"]),
        ({"row": {"image": "0.png", "prompt": "x", "category": "no such"}, "calibration_rows": 17}, DataError,
         ["D.jsonl:17", "no such"]),
        ({"row": {"video": "clip.gif", "prompt": "x"}, "calibration_rows": 17}, DataError, ["D.jsonl:17", "video"]),
        ({"row": {"image": ["0.png", "1.png"], "prompt": "x"}, "calibration_rows": 17}, DataError, ["D.jsonl:17", 2]),
    ],
    ids=str,
)  # fmt: skip
def test_refusals(
    asked: Path, checkpoint: Path, tmp_path: Path, options: dict[str, Any], kind: type[ClaspError], facts: list[Any],
    tracer: object,
) -> None:  # fmt: skip
    for path in asked.parent.glob("*.png"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "clip.gif").write_bytes(b"GIF89a")
    lines = asked.read_text().splitlines()[: options.pop("lines", 16)]
    if (row := options.pop("row", None)) is not None:
        lines.append(json.dumps(row))
    (tmp_path / "D.jsonl").write_text("".join(f"{line}\n" for line in lines))
    given = {"quantize": "int4:32", "calibration": tmp_path / "D.jsonl", **options}
    with pytest.raises(kind) as error:
        build(checkpoint, tmp_path / "out", max_context=96, budget=8, target=None, **given)
    says(error, *facts)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*")), "nothing is left of it"


def test_a_bundle_is_not_rounded_again(built: Callable[..., Bundle], asked: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError) as error:
        build(built(**INT4).root, tmp_path / "out", quantize="int4:32", calibration=asked)
    says(error, "rounding")


def test_a_checkpoint_of_integers_is_refused(checkpoint: Path, asked: Path, tmp_path: Path) -> None:
    from tests import quantised

    config = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False}

    def make(weights: Any) -> quantised.Matrix:
        return quantised.quantised(weights, 4, 32, symmetric=True)

    packed, _ = quantised.quantise_checkpoint(checkpoint, tmp_path, config, "vision_tower", make, quantised.gptq)
    with pytest.raises(QuantizationError) as error:
        build(packed, tmp_path / "out", target=None, quantize="decoder=int4", calibration=asked)
    says(error, "decoder", "already")
