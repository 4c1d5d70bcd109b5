"""Bundles of checkpoints that are quantised already against the stock model with the weights that they stand for."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clasp_trt import targets
from clasp_trt.bundle import Bundle
from clasp_trt.errors import ClaspError, QuantizationError, TargetError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.family import family_of
from clasp_trt.notice import Notice
from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.quantization import INT8, Quantization, Scheme, parse
from clasp_trt.runtime.pipeline import load
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.profile.workload import noise
from clasp_trt.tools.verify.parity import compare
from examples.random_llava import make
from tests.mistakes import says
from tests.parity.test_parity import BASE, PROMPTS, Built, assert_same, compiled, eager, in_float64
from tests.quantised import (
    Pack,
    awq,
    compressed,
    eighths,
    fp8,
    gptq,
    int_quantized,
    pack_quantized,
    quantise_checkpoint,
    quantised,
)

LAYERS = "model.layers"
GPTQ, AWQ = {"quant_method": "gptq", "bits": 4, "group_size": 32}, {"quant_method": "awq", "bits": 4, "group_size": 32}
BF16 = torch.bfloat16
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], Pack, Scheme]] = {
    "gptq": ({**GPTQ, "sym": True}, {"symmetric": True}, gptq, Scheme(4, 32)),
    "gptq in the order of activations": (
        {**GPTQ, "sym": False, "desc_act": True},
        {"symmetric": False, "shuffled": True},
        gptq,
        Scheme(4, 32, zeros=True),
    ),
    "awq": (AWQ, {"symmetric": False}, awq, Scheme(4, 32, zeros=True)),
    "gptq_v2 of 8 bits": (
        {**GPTQ, "bits": 8, "sym": False, "checkpoint_format": "gptq_v2"},
        {"bits": 8, "symmetric": False},
        partial(gptq, version=2),
        Scheme(8, 32, zeros=True),
    ),
    "pack-quantized": (
        compressed("pack-quantized", num_bits=4, strategy="group", group_size=32, symmetric=False),
        {"symmetric": False},
        pack_quantized,
        Scheme(4, 32, zeros=True),
    ),
    "int-quantized": (
        compressed("int-quantized", num_bits=8, strategy="channel", symmetric=True),
        {"bits": 8, "group": -1, "symmetric": True},
        int_quantized,
        Scheme(8, None),
    ),
}


def folders(root: Path, case: str) -> tuple[Path, Path]:
    """A packed checkpoint, and one of what it stands for; scales are such as both float16 and bfloat16 have."""
    config, options, pack, _ = CASES[case]
    options = dict(options)
    shuffled = options.pop("shuffled", False)

    def matrix(weights: Any) -> Any:
        made = quantised(weights, **{"bits": 4, "group": 32, **options})
        order = np.random.default_rng(weights.shape[1]).permutation(made.of) if shuffled else None
        return replace(made, own=order, s=torch.from_numpy(made.s).to(BF16).to(torch.float16).numpy())

    shape = replace(BASE, width=64, heads=4, kv_heads=2)
    return quantise_checkpoint(make(root / "stock", shape), root, config, LAYERS, matrix, pack)


@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize(
    "case", [name if name == "awq" else pytest.param(name, marks=pytest.mark.full) for name in CASES]
)
def test_graphs_compute_with_what_the_checkpoint_holds(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    packed, floats = folders(tmp_path, case)
    options: dict[str, Any] = {"precision": "fp32", "max_context": 1024, "budget": 20}
    build(packed, tmp_path / "bundle", target="l4", backend="onnxruntime", **options)
    assert dict(Bundle.open(tmp_path / "bundle").manifest.quantization.schemes) == {"decoder": CASES[case][3]}
    text, category = PROMPTS["long text after"]
    pair = Built(load(tmp_path / "bundle", threads=1), floats)
    result, logits = compiled(pair.pipeline, text, None, monkeypatch)
    reference = eager(pair.pipeline, pair.model(), text, CATEGORY_NAMES.index(category))
    assert_same(result, reference)
    truth, tolerance = in_float64(pair, text, category, reference)
    assert np.abs(logits - truth).max() <= tolerance
    # on a CPU rows are rounded as well, as they are of any bundle with integers
    build(packed, tmp_path / "cpu", target="cpu", **options)
    with load(tmp_path / "cpu", threads=1) as pipeline:
        _, rough = compiled(pipeline, text, None, monkeypatch)
    assert np.abs(rough[0] - truth[0]).max() < 0.1 * np.abs(truth[0]).max()
    for name in ("bundle", "cpu"):
        bundle = Bundle.open(tmp_path / name)
        report = compare(bundle, str(packed), [noise(bundle)], "Is this a bird?")
        report.require()
        assert report.rounding == {}
        layers = [check for check in report.checks if " weights (" in check.output]
        assert [check.error for check in layers] == [0.0] * BASE.layers


@pytest.mark.usefixtures("tracer")
def test_another_integer_than_the_checkpoint_holds_is_found_in_its_layer(tmp_path: Path) -> None:
    packed, _ = folders(tmp_path, "awq")
    build(packed, tmp_path / "bundle", target="cpu", max_context=1024, budget=20, precision="fp32")
    file = next(packed.glob("*.safetensors"))
    held = load_file(file)
    held[f"language_model.{LAYERS}.1.mlp.up_proj.qzeros"][0, 0] ^= 1
    save_file(held, file, metadata={"format": "pt"})
    bundle = Bundle.open(tmp_path / "bundle")
    drift = compare(bundle, str(packed), [noise(bundle)], "Is this a bird?").first_drift
    assert drift is not None
    assert drift.output == "layer 1 weights (mlp.up_proj)"


@pytest.mark.usefixtures("tracer")
def test_what_is_asked_of_it_beyond_that_is_refused_by_name(tmp_path: Path) -> None:
    packed, _ = folders(tmp_path, "awq")
    refusals: list[tuple[type[ClaspError], dict[str, Any], tuple[str, ...]]] = [
        (QuantizationError, {"quantize": "int8"}, ("decoder", "int4 in blocks of 32 with zero points", "vision=int8")),
        (QuantizationError, {"quantize": "decoder=int4"}, ("decoder", "drop --quantize")),
    ]
    for kind, options, said in refusals:
        with pytest.raises(kind) as refused:
            build(packed, tmp_path / "bundle", **options)
        says(refused, *said)
    build(packed, tmp_path / "portable", quantize="vision=int8", max_context=1024, budget=20)
    manifest = Bundle.open(tmp_path / "portable").manifest
    assert set(manifest.quantization.schemes) == {"vision", "decoder"}


def test_what_tensorrt_does_not_multiply_by_is_refused_by_name() -> None:
    for scheme in (Scheme(4, 128, zeros=True), Scheme(8, 32)):
        with pytest.raises(TargetError) as refused:
            targets.check_integers("tensorrt", Quantization({"decoder": scheme}))
        says(refused, "decoder", scheme, "zero points", "onnxruntime")
        targets.check_integers("onnxruntime", Quantization({"decoder": scheme}))
    targets.check_integers("tensorrt-rtx", Quantization({"decoder": Scheme(4, 64), "head": INT8}))


@pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")
def test_fp8_stays_where_it_can_be_multiplied(tmp_path: Path) -> None:
    """Of the parts that no rounding was asked for, and for capabilities that have such products."""
    config = {"quant_method": "fbgemm_fp8"}
    packed, _ = quantise_checkpoint(
        make(tmp_path / "stock", BASE), tmp_path, config, LAYERS, partial(eighths, tile=(1, 0)),
        partial(fp8, scale="weight_scale"),
    )  # fmt: skip
    checkpoint, whole = Checkpoint.open(packed), Scheme(8, None, floating=True)
    found = [
        family_of(checkpoint, quantization=parse(asked), fp8=stays).quantization.schemes
        for asked, stays in (("none", True), ("vision=int8", True), ("decoder=int8", True), ("none", False))
    ]
    assert found == [{"decoder": whole}, {"vision": INT8, "decoder": whole}, {"decoder": INT8}, {}]
    assert [targets.takes_fp8("tensorrt-rtx", sms) for sms in (("8.9", "12.0"), ("8.6", "8.9"))] == [True, False]
    assert not targets.takes_fp8("onnxruntime")
    with pytest.raises(TargetError) as refused:
        targets.check_integers("onnxruntime", Quantization({"decoder": whole}))
    says(refused, "decoder", "fp8", "checkpoint")


@pytest.mark.usefixtures("tracer")
def test_fp8_becomes_floats_and_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tiles that do not divide the matrices; asked for, its integers are those of what it stands for."""
    torch.set_num_threads(1)
    config = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [48, 48]}
    packed, floats = quantise_checkpoint(
        make(tmp_path / "stock", BASE), tmp_path, config, LAYERS, partial(eighths, tile=(48, 48)), fp8
    )
    options: dict[str, Any] = {"target": "cpu", "precision": "fp32", "max_context": 1024, "budget": 20}
    with pytest.warns(Notice, match="FP8"):
        build(packed, tmp_path / "bundle", **options)
    assert not Bundle.open(tmp_path / "bundle").manifest.quantization
    text, category = PROMPTS["long text after"]
    pair = Built(load(tmp_path / "bundle", threads=1), floats)
    result, _ = compiled(pair.pipeline, text, None, monkeypatch)
    assert_same(result, eager(pair.pipeline, pair.model(), text, CATEGORY_NAMES.index(category)))
    with pytest.warns(Notice, match="anew"):
        build(packed, tmp_path / "integers", **options, quantize="decoder=int8")
    build(floats, tmp_path / "same", **options, quantize="decoder=int8")
    found, expected = (Bundle.open(tmp_path / name).manifest.files for name in ("integers", "same"))
    assert {name: file.sha256 for name, file in found.items()} == {name: file.sha256 for name, file in expected.items()}
