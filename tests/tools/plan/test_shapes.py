"""Parameters, counted from the config alone, are those that the tensors have."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clasp_trt.bundle import Bundle
from clasp_trt.chain import Chain
from clasp_trt.export.family import describe, read_description
from clasp_trt.quantization import parse
from clasp_trt.tools.plan.memory import graph_bytes, graph_parameters
from examples.llava_files import config
from examples.random_llava import PRESETS, Shape, tensors
from tests.tools.plan.conftest import LLAVA_7B, LLAVA_13B


def part_of(key: str) -> str:
    """The part that a tensor belongs to, in the old and the new layout of keys."""
    if any(tower in key for tower in ("vision_tower", "image_tower", "video_tower")):
        return "vision tower"
    if "multi_modal_projector" in key or key == "image_newline":
        return "projector"
    if "embed_tokens" in key:
        return "embedding"
    return "decoder layers" if ".layers." in key else "final norm and head"


def config_of(shape: Shape) -> dict[str, Any]:
    return json.loads(json.dumps(config(shape, "float32", 1, 2)))


def counted(shape: Shape) -> dict[str, int]:
    found: Counter[str] = Counter()
    for spec in tensors(shape):
        found[part_of(spec.name)] += spec.size
    return dict(found)


@pytest.mark.parametrize("preset", PRESETS)
def test_parts_of_a_preset(preset: str) -> None:
    shape = PRESETS[preset]
    assert describe(config_of(shape), "config.json", preset).parts == counted(shape)


@given(
    vision=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 50)),
    decoder=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 8), st.integers(1, 99)),
    side=st.integers(1, 6),
    tied=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_parts_of_any_shape(
    vision: tuple[int, int, int], decoder: tuple[int, int, int, int, int], side: int, tied: bool
) -> None:
    layers, kv_heads, groups, half, mlp = decoder
    heads = kv_heads * groups
    shape = Shape(
        vision_layers=vision[0], vision_width=8 * vision[1], vision_heads=4, vision_mlp=vision[2],
        image_size=14 * side, patch_size=14, layers=layers, width=6 * heads, heads=heads, kv_heads=kv_heads,
        mlp=mlp, vocab=320, head_dim=2 * half, tie_word_embeddings=tied,
    )  # fmt: skip
    found = describe(config_of(shape), "config.json", "any")
    assert found.parts == counted(shape)
    assert found.parameters == sum(spec.size for spec in tensors(shape))


def test_a_checkpoint_on_disk(checkpoint: Path) -> None:
    from safetensors import safe_open

    with safe_open(checkpoint / "model.safetensors", framework="np") as file:
        names = list(file.keys())
        sizes = {name: file.get_tensor(name).size for name in names}
    found: Counter[str] = Counter()
    for name in names:
        found[part_of(name)] += sizes[name]
    assert read_description(checkpoint / "config.json", "tiny").parts == dict(found)


@pytest.mark.parametrize(
    ("config", "total"),
    [
        (LLAVA_7B, 7_063_427_072),
        (LLAVA_13B, 13_351_494_656),
        ({**LLAVA_7B, "text_config": {**LLAVA_7B["text_config"], "attention_bias": True, "mlp_bias": True}}, None),
    ],
    ids=["7b", "13b", "biases"],
)
def test_against_transformers(config: dict[str, Any], total: int | None) -> None:
    """The published checkpoints, as transformers would allocate them, without their weights."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    with torch.device("meta"):
        model = LlavaForConditionalGeneration(LlavaConfig(**config))
    found: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        found[part_of(name)] += parameter.numel()
    shape = describe(config, "config.json", "llava")
    assert shape.parts == dict(found)
    assert total in (None, shape.parameters)


@pytest.mark.parametrize("top", [None, True, False])
@pytest.mark.parametrize("text", [None, True, False])
def test_tied_embeddings_as_transformers_reads_them(top: bool | None, text: bool | None) -> None:
    from transformers import LlavaConfig

    config: dict[str, Any] = {"text_config": {"model_type": "llama"}}
    if text is not None:
        config["text_config"]["tie_word_embeddings"] = text
    if top is not None:
        config["tie_word_embeddings"] = top
    expected = LlavaConfig(**json.loads(json.dumps(config))).tie_word_embeddings
    assert describe({"model_type": "llava", **config}, "config.json", "x").decoder.tied == expected


@pytest.mark.parametrize("options", [{}, {"prune_at": "encoder"}], ids=str)
def test_graphs_of_a_bundle_hold_what_was_planned(
    options: dict[str, Any], built: Callable[..., Bundle], checkpoint: Path
) -> None:
    import onnx

    bundle = built(**options)
    manifest = bundle.manifest
    held = {}
    for graph in manifest.graphs:
        model = onnx.load(bundle.path(graph.path), load_external_data=False)
        # the tracer leaves a few scalars, such as the scale of attention
        weights = [w for w in model.graph.initializer if w.dims and w.data_type == onnx.TensorProto.FLOAT]
        if weights:
            held[graph.name] = sum(math.prod(w.dims) for w in weights)
    shape = read_description(checkpoint / "config.json", "tiny")
    assert graph_parameters(shape, Chain.of(manifest.schedule).cuts, manifest.max_context) == held


@pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")
def test_graphs_of_rounded_weights_take_the_bytes_that_were_planned(
    built: Callable[..., Bundle], checkpoint: Path
) -> None:
    import onnx_ir as ir

    option = "int4:32,head=none"
    bundle = built(target=None, precision="fp16", quantize=option)
    shape = replace(read_description(checkpoint / "config.json", "tiny"), quantization=parse(option))
    held = {}
    for graph in bundle.manifest.graphs:
        values = ir.load(bundle.path(graph.path)).graph.initializers.values()
        kinds = (ir.DataType.FLOAT16, ir.DataType.INT8, ir.DataType.INT4)
        tensors = [value.const_value for value in values if value.dtype in kinds and value.shape]
        if tensors:
            held[graph.name] = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    cuts = Chain.of(bundle.manifest.schedule).cuts
    assert graph_bytes(shape, cuts, bundle.manifest.max_context, 2) == held
