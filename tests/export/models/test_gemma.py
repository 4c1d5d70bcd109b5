"""What the families ``paligemma`` and ``gemma3`` read of a config and of other files, and what they refuse."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clasp_trt.bundle import Run, Sequential, Square
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.description import Description
from clasp_trt.export.family import describe, family_of
from clasp_trt.runtime.media.processors import processor
from examples.random_gemma import PRESETS, make
from tests.mistakes import says

FAMILIES = {"paligemma": "tiny-paligemma2", "gemma3": "tiny-gemma3"}
SIGLIP = {
    **{"model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27},
    **{"num_attention_heads": 16, "patch_size": 14, "vision_use_head": False},
}


def _pali(side: int, width: int, **text: Any) -> dict[str, Any]:
    vision = {**SIGLIP, "image_size": side, "projection_dim": width}
    text = {"vocab_size": 257216, "hidden_size": width, **text}
    return {"model_type": "paligemma", "projection_dim": width, "text_config": text, "vision_config": vision}


def _text(layers: int, mlp: int, heads: int, kv_heads: int, **others: Any) -> dict[str, Any]:
    sizes = {"num_hidden_layers": layers, "intermediate_size": mlp, "num_attention_heads": heads}
    return {**sizes, "num_key_value_heads": kv_heads, **others}


def _gemma3(width: int, **text: Any) -> dict[str, Any]:
    common = {"model_type": "gemma3_text", "hidden_size": width, "sliding_window": 1024}
    scaled = {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}}
    vision = {**SIGLIP, "image_size": 896}
    return {"model_type": "gemma3", "text_config": {**common, **scaled, **text}, "vision_config": vision}


ONE, TWO = {"model_type": "gemma"}, {"model_type": "gemma2"}
PUBLISHED = {
    "paligemma-3b-pt-224": _pali(224, 2048, **ONE, **_text(18, 16384, 8, 1)),
    "paligemma-3b-pt-448": _pali(448, 2048, **ONE, **_text(18, 16384, 8, 1)),
    "paligemma-3b-pt-896": _pali(896, 2048, **ONE, **_text(18, 16384, 8, 1)),
    "paligemma2-3b-pt-224": _pali(224, 2304, **TWO, **_text(26, 9216, 8, 4)),
    "paligemma2-10b-pt-448": _pali(448, 3584, **TWO, **_text(42, 14336, 16, 8)),
    "paligemma2-28b-pt-896": _pali(
        896, 4608, **TWO, **_text(46, 36864, 32, 16, head_dim=128, query_pre_attn_scalar=144)
    ),
    "gemma-3-4b-it": _gemma3(2560, **_text(34, 10240, 8, 4)),
    "gemma-3-12b-it": _gemma3(3840, **_text(48, 15360, 16, 8)),
    "gemma-3-27b-it": _gemma3(5376, **_text(62, 21504, 32, 16, head_dim=128, query_pre_attn_scalar=168)),
}


def _describe(config: dict[str, Any]) -> Description:
    return describe(copy.deepcopy(config), "config.json", "x")


def _library(config: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    given = {key: value for key, value in copy.deepcopy(config).items() if key != "model_type"}
    return AutoConfig.for_model(config["model_type"], **given)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_published_sizes(name: str) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(_library(PUBLISHED[name]))
    assert _describe(PUBLISHED[name]).parameters == model.num_parameters()


def test_visual_tokens_of_published_sizes() -> None:
    tokens = {name: _describe(config).tokens for name, config in PUBLISHED.items()}
    assert [each for each in tokens.values() if len(set(each)) > 1] == [], "fixed"
    assert [each[0] for each in tokens.values()] == [256, 1024, 4096, 256, 1024, 4096, 256, 256, 256]


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "paligemma"},
        {"model_type": "paligemma", "projection_dim": 3072, "text_config": {}},
        {"model_type": "paligemma", "projection_dim": 2304, "text_config": {"model_type": "gemma2"}},
        {"model_type": "paligemma", "vision_config": {"image_size": 448}},
        {"model_type": "paligemma", "text_config": None, "tie_word_embeddings": False},
        {"model_type": "gemma3", "mm_tokens_per_image": 49},
        _gemma3(2560),
        _gemma3(2560, rope_theta=5e5, rope_local_base_freq=7e3),
        _gemma3(2560, sliding_window_pattern=3),
        _gemma3(2560, tie_word_embeddings=False),
        PUBLISHED["paligemma2-3b-pt-224"],
    ],
    ids=str,
)
def test_defaults_are_those_of_transformers(config: dict[str, Any]) -> None:
    """What is left out and what transformers writes out in full read alike."""
    whole = json.loads(_library(config).to_json_string(use_diff=False))
    assert _describe(config) == _describe({**whole, "model_type": config["model_type"]})


@pytest.mark.parametrize("name", ["gemma-3-4b-it", "gemma-3-27b-it"])
def test_tables_are_those_of_the_library(name: str) -> None:
    from dataclasses import replace

    from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding

    from clasp_trt.export.decoder.rotary import rotary

    spec, library = _describe(PUBLISHED[name]).decoder, Gemma3RotaryEmbedding(_library(PUBLISHED[name]).text_config)
    assert spec.local_rotary is not None
    local = replace(spec, rotary=spec.local_rotary)
    assert rotary(spec).inverse_frequencies == tuple(library.full_attention_inv_freq.tolist())
    assert rotary(local).inverse_frequencies == tuple(library.sliding_attention_inv_freq.tolist())
    kinds = _library(PUBLISHED[name]).text_config.layer_types
    assert [spec.slides(layer) for layer in range(spec.layers)] == [kind == "sliding_attention" for kind in kinds]


def test_layers_that_visual_tokens_can_fill() -> None:
    """A picture of 256 tokens fits the window of Gemma 3, four do not; PaliGemma 2 sees all of a prompt everywhere."""
    spec = _describe(PUBLISHED["gemma-3-4b-it"]).decoder
    assert spec.short_sighted(256) == spec.short_sighted(1023) == frozenset()
    assert spec.short_sighted(4 * 256) == frozenset(layer for layer in range(34) if layer % 6 != 5)
    assert _describe(PUBLISHED["paligemma2-28b-pt-896"]).decoder.short_sighted(4096) == frozenset()


def test_a_window_is_no_bound_where_graphs_know_it() -> None:
    for name in ("paligemma2-3b-pt-224", "gemma-3-4b-it"):
        spec = _describe(PUBLISHED[name]).decoder
        assert spec.dims.window == spec.window
        assert spec.max_positions == spec.positions > (spec.window or 0)


@pytest.mark.parametrize(
    ("config", "facts"),
    [
        (_gemma3(2560, attn_logit_softcapping=50.0), ["attn_logit_softcapping", "null"]),
        (_gemma3(2560, final_logit_softcapping=30.0), ["final_logit_softcapping", "null"]),
        (_gemma3(2560, use_bidirectional_attention=True), ["use_bidirectional_attention"]),
        (_gemma3(2560, layer_types=["chunked_attention"] * 26), ["layer_types", "sliding_attention"]),
        (_gemma3(2560, layer_types=["full_attention"]), ["layer_types", "26"]),
        (_gemma3(2560, sliding_window=None), ["sliding_window"]),
        (_gemma3(2560, hidden_activation="relu"), ["hidden_activation", "gelu_pytorch_tanh"]),
        (_gemma3(2560, rope_parameters={"rope_theta": 1e4}), ["rope_parameters", "full_attention"]),
        (_gemma3(2560, rope_scaling={"type": "linear", "factor": 8.0}), ["rope_scaling", "rope_type"]),
        (_gemma3(2560, rope_scaling={"rope_type": "dynamic", "factor": 8.0}), ["rope_parameters", "linear"]),
        (_gemma3(2560, head_dim=255), ["head_dim", "even"]),
        (_gemma3(2560, num_key_value_heads=3), ["num_key_value_heads"]),
        (_gemma3(2560, model_type="gemma2"), ["text_config.model_type", "gemma3_text"]),
        ({**_gemma3(2560), "mm_tokens_per_image": 100}, ["mm_tokens_per_image", "64"]),
        ({**_gemma3(2560), "mm_tokens_per_image": 4096}, ["mm_tokens_per_image", "64"]),
        ({**_gemma3(2560), "vision_config": {"model_type": "clip_vision_model"}}, ["vision_config.model_type"]),
        ({**PUBLISHED["paligemma-3b-pt-224"], "projection_dim": 2049}, ["projection_dim", "2048"]),
        (_pali(224, 2048, model_type="gemma3_text"), ["text_config.model_type", "gemma2"]),
        ({"model_type": "gemma3n"}, ["gemma3n"]),
        ({"model_type": "gemma3_text"}, ["gemma3_text"]),
    ],
    ids=str,
)
def test_what_cannot_be_compiled(config: dict[str, Any], facts: list[str]) -> None:
    with pytest.raises(CheckpointError) as refused:
        _describe(config)
    says(refused, *facts)


# --- files beside the config --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made = {name: make(tmp_path_factory.mktemp(name) / "m", PRESETS[preset]) for name, preset in FAMILIES.items()}
    return made.__getitem__


@pytest.fixture
def folder(whole: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(whole(name), tmp_path / "model"))


def _edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _media(folder: Path) -> Any:
    return family_of(Checkpoint.open(str(folder))).media


def test_prompts(whole: Callable[[str], Path]) -> None:
    image = _media(whole("gemma3")).image
    token, begin, end = "<image_soft_token>", "<start_of_image>", "<end_of_image>"
    id = json.loads((whole("gemma3") / "config.json").read_text())["image_token_index"]
    assert image.layout == Run(begin, token, id, before=f"\n\n{begin}", after=f"{end}\n\n")
    assert (image.positions, image.processor.tokens, image.processor.rows) == (Sequential(0), 16, 64)
    image = _media(whole("paligemma")).image
    assert (image.layout.placeholder, image.layout.token, image.positions) == ("<image>", "<image>", Sequential(1))


@pytest.mark.parametrize(
    ("name", "file", "values", "facts"),
    [
        ("gemma3", "preprocessor_config.json", {"do_pan_and_scan": True}, ["do_pan_and_scan"]),
        (
            "gemma3",
            "preprocessor_config.json",
            {"image_processor_type": "CLIPImageProcessor"},
            ["Gemma3ImageProcessor"],
        ),
        ("gemma3", "preprocessor_config.json", {"size": {"height": 56, "width": 56}}, ["56x56", "112x112"]),
        ("gemma3", "processor_config.json", {"image_seq_length": 256}, ["image_seq_length", "256", "16"]),
        ("paligemma", "preprocessor_config.json", {"image_seq_length": 256}, ["image_seq_length", "256", "25"]),
    ],
)
def test_processors_that_the_model_does_not_go_with(
    folder: Callable[[str], Path], name: str, file: str, values: dict[str, Any], facts: list[str]
) -> None:
    path = folder(name)
    _edit(path / file, **values)
    with pytest.raises(CheckpointError) as refused:
        _media(path)
    says(refused, *facts)


@pytest.mark.parametrize("name", FAMILIES)
def test_pixels_are_the_librarys(whole: Callable[[str], Path], name: str) -> None:
    """Bit for bit, whatever the shape of a picture."""
    from transformers import AutoImageProcessor

    record = _media(whole(name)).image.processor
    assert isinstance(record, Square)
    untyped: Any = AutoImageProcessor
    library = untyped.from_pretrained(whole(name), local_files_only=True, backend="pil")
    for size in ((1, 4000), (4000, 1), (1, 1), (112, 112), (37, 211), (640, 479)):
        pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        found = processor(record)(image)
        np.testing.assert_array_equal(
            found.vision["pixel_values"][0], library(image, return_tensors="np")["pixel_values"][0]
        )
        assert found.boxes.shape == (record.tokens, 4)
        assert found.boxes.max() == record.side


@pytest.mark.parametrize(
    "text", ["What is it?", "a <image> b", "detect <loc0003><seg001> cat", "  spaces ", "two\nlines"]
)
def test_paligemma_writes_prompts_as_its_processor_does(whole: Callable[[str], Path], text: str) -> None:
    from clasp_trt.export.stock import stock
    from clasp_trt.runtime.text.chat import ChatTemplate
    from clasp_trt.runtime.text.tokenizer import Tokenizer

    checkpoint = Checkpoint.open(str(whole("paligemma")))
    family = family_of(checkpoint)
    library = stock(checkpoint, [Image.new("RGB", (9, 9))], text).input_ids
    chat = ChatTemplate(family.chat_template(), "<image>", family.tokenizer.special)
    import tokenizers

    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(family.tokenizer.text))
    rendered = chat.render(text, images=1)
    ids = np.array(tokenizer.encode_chat(rendered, chat.bos))
    image = family.media.image
    repeats = np.where(ids == image.layout.id, image.processor.token_range[0], 1)
    assert np.repeat(ids, repeats).tolist() == library.tolist()
