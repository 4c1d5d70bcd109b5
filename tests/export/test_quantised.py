"""What a ``quantization_config`` says, and which are refused by what they say."""

from __future__ import annotations

from typing import Any

import pytest

from clasp_trt.errors import CheckpointError
from clasp_trt.export.quantised import held, quantised
from clasp_trt.quantization import INT8, Scheme
from tests.mistakes import says
from tests.quantised import compressed

GPTQ: dict[str, Any] = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}
AWQ: dict[str, Any] = {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"}
PACKED = compressed("pack-quantized", num_bits=4, strategy="group", group_size=32, symmetric=True)
WHOLE = compressed("int-quantized", num_bits=8, strategy="channel", symmetric=True)


FP8: dict[str, Any] = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
FLOATING = compressed("float-quantized", type="float", num_bits=8, strategy="channel")


def grouped(**changes: object) -> dict[str, Any]:
    """``PACKED`` with a group that differs."""
    return {**PACKED, "config_groups": {"group_0": {**PACKED["config_groups"]["group_0"], **changes}}}


@pytest.mark.parametrize(
    ("config", "layout", "scheme"),
    [
        (GPTQ, "gptq", Scheme(4, 128)),
        ({**GPTQ, "checkpoint_format": "gptq_v2", "sym": False}, "gptq_v2", Scheme(4, 128, zeros=True)),
        ({**GPTQ, "bits": 8, "group_size": -1}, "gptq", INT8),
        ({**GPTQ, "group_size": 1024, "desc_act": True}, "gptq", Scheme(4, 128)),
        (AWQ, "gemm", Scheme(4, 64, zeros=True)),
        ({**AWQ, "version": "GEMM", "modules_to_not_convert": ["visual"]}, "gemm", Scheme(4, 64, zeros=True)),
        ({"quant_method": "awq"}, "gemm", Scheme(4, 128, zeros=True)),
        (PACKED, "pack-quantized", Scheme(4, 32)),
        (WHOLE, "int-quantized", INT8),
    ],
)
@pytest.mark.parametrize("place", ["", "text_config"])
def test_what_a_config_says(config: dict[str, Any], layout: str, scheme: Scheme, place: str) -> None:
    whole = {"quantization_config": config}
    given = {place: whole} if place else whole
    found = quantised(given, "c")
    assert found is not None
    assert (found.method, found.layout) == (config["quant_method"], layout)
    assert dict(held(given, "c").schemes) == {"decoder": scheme}


@pytest.mark.parametrize(
    ("config", "tile"),
    [
        (FP8, (128, 128)),
        ({"quant_method": "fp8", "activation_scheme": "static"}, (128, 128)),
        ({**FP8, "weight_block_size": [64, 32], "fmt": "e4m3", "scale_fmt": "ue8m0"}, (64, 32)),
        ({**FP8, "weight_block_size": None}, None),
        ({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, None),
        (FLOATING, None),
        (compressed("float-quantized", type="float", num_bits=8, strategy="tensor"), None),
        (compressed("float-quantized", type="float", num_bits=8, strategy="block", block_structure="16x32"), (16, 32)),
    ],
)
def test_fp8_is_floats_of_which_a_plan_knows_no_scheme(config: dict[str, Any], tile: tuple[int, int] | None) -> None:
    found = quantised({"quantization_config": config}, "c")
    assert found is not None
    assert (found.method, found.tile) == (config["quant_method"], tile)
    assert not found.held


def test_floats() -> None:
    assert quantised({"text_config": {}}, "c") is None
    assert not held({"quantization_config": None}, "c")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "method null"),
        ([], "method null"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": ["gptq"]}, "gptq"),
        ({**GPTQ, "bits": 3}, "bits"),
        ({**GPTQ, "bits": 4.0}, "bits"),
        ({**GPTQ, "bits": None}, "bits"),
        ({**GPTQ, "sym": "yes"}, "sym"),
        ({**GPTQ, "group_size": 40}, "group_size"),
        ({**GPTQ, "group_size": 0}, "group_size"),
        ({**GPTQ, "group_size": "128"}, "group_size"),
        ({**GPTQ, "checkpoint_format": "marlin"}, "checkpoint_format"),
        ({**GPTQ, "is_marlin_format": True}, "is_marlin_format"),
        ({**AWQ, "bits": 8}, "bits"),
        ({**AWQ, "version": "gemv"}, "version"),
        ({**AWQ, "version": "gemv_fast"}, "version"),
        ({**AWQ, "zero_point": 1}, "zero_point"),
        ({**FP8, "fmt": "e5m2"}, "fmt"),
        ({**FP8, "weight_block_size": [128]}, "weight_block_size"),
        ({**FP8, "weight_block_size": [128, 0]}, "weight_block_size"),
        ({**FP8, "activation_scheme": "other"}, "activation_scheme"),
        ({**FP8, "expert_dtype": "fp4"}, "expert_dtype"),
        (compressed("float-quantized", num_bits=8, strategy="channel"), "type"),
        (compressed("float-quantized", type="float", num_bits=4, strategy="tensor"), "num_bits"),
        (compressed("float-quantized", type="float", num_bits=8, strategy="block"), "block_structure"),
        ({**FLOATING, "kv_cache_scheme": {"num_bits": 8}}, "kv_cache_scheme"),
        (compressed("naive-quantized", num_bits=8, strategy="channel"), "naive-quantized"),
        ({**PACKED, "format": None}, "format"),
        ({**PACKED, "kv_cache_scheme": {"num_bits": 8}}, "kv_cache_scheme"),
        ({**PACKED, "sparsity_config": {"format": "sparse-24-bitmask"}}, "sparsity_config"),
        ({**PACKED, "transform_config": {"config_groups": {"u": {}}}}, "transform_config"),
        ({**PACKED, "config_groups": {}}, "config_groups"),
        (grouped(weights=None), "config_groups.group_0"),
        (grouped(format="float-quantized"), "config_groups.group_0.format"),
        (grouped(input_activations={"num_bits": 8}), "config_groups.group_0.input_activations"),
        (compressed("pack-quantized", num_bits=3, strategy="channel"), "num_bits"),
        (compressed("pack-quantized", num_bits=4, strategy="tensor"), "strategy"),
        (compressed("pack-quantized", num_bits=4, strategy="group", group_size=24), "group_size"),
        (compressed("int-quantized", num_bits=8, strategy="channel", type="float"), "type"),
    ],
)
def test_what_is_not_read_is_refused_by_name(config: object, said: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        quantised({"quantization_config": config}, "the-folder")
    says(refused, "the-folder", said, "--quantize int4")
