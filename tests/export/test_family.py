"""What a family says of a config alone: defaults are those of transformers, what cannot be compiled is refused."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clasp_trt.errors import CheckpointError
from clasp_trt.export.config import SAME_ACTIVATION, Settings
from clasp_trt.export.decoder.configs import DECODERS, decoder
from clasp_trt.export.decoder.rotary import rotary
from clasp_trt.export.decoder.spec import DecoderSpec
from clasp_trt.export.family import describe, read_description
from clasp_trt.export.towers.configs import TOWERS
from clasp_trt.export.towers.spec import TowerSpec
from examples.random_llava import PRESETS, make
from tests.mistakes import says


def _whole(config: Any) -> dict[str, Any]:
    """All fields that transformers fills in, as JSON would carry them."""
    found: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return found


SPATIAL = ("qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text")
"""Decoders whose rows have positions on three axes: they are known by the model around them."""


def _decoder(**config: Any) -> DecoderSpec:
    kind = config.get("model_type")
    return decoder(Settings("config.json", "text_config.", config, {}), known=kind if kind in SPATIAL else None)


def _tower(kind: str, **config: Any) -> TowerSpec:
    return TOWERS[kind](Settings("config.json", "vision_config.", config, {}), -2)


@pytest.mark.parametrize("kind", [*DECODERS, *SPATIAL])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"hidden_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True},
        {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4.0}},
        {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}, "max_position_embeddings": 77},
        {"rms_norm_eps": 1e-3, "sliding_window": None},
        {"use_sliding_window": True, "max_window_layers": 3},
        {"use_sliding_window": True, "max_window_layers": 32},
    ],
    ids=str,
)
def test_a_decoder_s_defaults_are_those_of_transformers(kind: str, given: dict[str, Any]) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind, **json.loads(json.dumps(given)))
    spec = _decoder(model_type=kind, **given)
    assert spec == _decoder(**_whole(config)), "what is left out and what is written out read alike"
    assert spec.rotary == {key: value for key, value in config.rope_parameters.items() if key in spec.rotary}
    assert set(config.rope_parameters) <= set(spec.rotary)
    assert (spec.head_dim, spec.positions) == (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        config.max_position_embeddings,
    )
    slides = "sliding_attention" in (getattr(config, "layer_types", None) or ["sliding_attention"])
    assert spec.window == (getattr(config, "sliding_window", None) if slides else None)


@pytest.mark.parametrize(
    ("kind", "rope"),
    [
        ("qwen2_vl_text", {}),
        ("qwen2_5_vl_text", {"rope_scaling": {"type": "mrope", "mrope_section": [10, 30, 24]}}),
        ("qwen2_5_vl_text", {"rope_parameters": {"rope_type": "default", "mrope_section": [64, 0, 0]}}),
        ("qwen2_vl_text", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "mrope_section": [16, 24, 24]}}),
        ("qwen3_vl_text", {}),
        ("qwen3_vl_text", {"rope_parameters": {"rope_type": "default", "mrope_section": [4, 40, 2]}}),
    ],
    ids=str,
)
def test_frequencies_turn_by_the_axes_that_transformers_has(kind: str, rope: dict[str, Any]) -> None:
    import torch
    from transformers import AutoConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRotaryEmbedding
    from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLRotaryEmbedding
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRotaryEmbedding

    embeddings = dict(
        zip(SPATIAL, (Qwen2VLRotaryEmbedding, Qwen2_5_VLRotaryEmbedding, Qwen3VLTextRotaryEmbedding), strict=True)
    )
    embedding = embeddings[kind](AutoConfig.for_model(kind, **json.loads(json.dumps(rope))))
    spec, places = _decoder(model_type=kind, **rope), torch.tensor([[[3]], [[50]], [[700]]])
    cos, sin = embedding(torch.zeros(1), places)
    turned = rotary(spec)
    angles = torch.tensor(turned.inverse_frequencies) * places.flatten()[list(spec.frequency_axes)]
    half = spec.head_dim // 2
    torch.testing.assert_close(cos[0, 0, :half], angles.cos() * turned.gain, rtol=0, atol=1e-6)
    torch.testing.assert_close(sin[0, 0, :half], angles.sin() * turned.gain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sections", [[16, 24], [16, 24, 23], [16, 24, -24], "all", [16.0, 24.0, 24.0]], ids=str)
def test_sections_that_are_not_those_of_a_head(sections: object) -> None:
    with pytest.raises(CheckpointError) as refused:
        _decoder(model_type="qwen2_5_vl_text", rope_scaling={"type": "mrope", "mrope_section": sections})
    says(refused, "rope_scaling", "mrope_section", 64)


def test_heads_of_another_width_than_the_library_makes_them() -> None:
    with pytest.raises(CheckpointError) as refused:
        _decoder(model_type="qwen2_vl_text", head_dim=64)
    says(refused, "head_dim", 64)


@pytest.mark.parametrize("kind", TOWERS)
def test_a_tower_s_defaults_are_those_of_transformers(kind: str) -> None:
    from transformers import AutoConfig

    assert _tower(kind) == _tower(kind, **_whole(AutoConfig.for_model(kind)))


@pytest.mark.parametrize("kind", TOWERS)
@pytest.mark.parametrize("given", [{}, {"hidden_size": 48, "num_attention_heads": 4, "image_size": 56}], ids=str)
def test_a_tower_s_parameters_are_those_of_transformers(kind: str, given: dict[str, Any]) -> None:
    import torch
    from transformers import AutoConfig, AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(kind, **given))
    assert _tower(kind, **given).parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_s_parameters_are_those_of_transformers(kind: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    given = {"hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": 2, "attention_bias": True}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **given))
    assert _decoder(model_type=kind, **given).parameters == sum(parameter.numel() for parameter in model.parameters())


def test_a_whole_config_s_defaults_are_those_of_transformers() -> None:
    from transformers import LlavaConfig

    for given in (
        {},
        {"vision_config": {}},
        {"text_config": {}},
        {"text_config": {"model_type": "mistral"}},
        {"text_config": {"model_type": "qwen2"}, "image_token_id": 7},
        {"vision_config": {"model_type": "siglip_vision_model"}, "vision_feature_select_strategy": "full"},
    ):
        whole = _whole(LlavaConfig(**json.loads(json.dumps(given))))
        found = describe({"model_type": "llava", **given}, "config.json", "x")
        assert found == describe({"model_type": "llava", **whole}, "config.json", "x")


CONFIGS = {
    "clip, llama": PRESETS["tiny"],
    "clip, mistral": PRESETS["tiny-mistral"],
    "siglip, qwen2": PRESETS["tiny-siglip-qwen2"],
    "clip, qwen3": replace(PRESETS["tiny"], decoder="qwen3", head_dim=10),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_whatever_field_is_left_out_is_filled_in_or_refused_as_in_transformers(tmp_path: Path, name: str) -> None:
    """Every field of a config that says all, gone or null: the same model, or a refusal where transformers refuses."""
    config = json.loads((make(tmp_path / "model", CONFIGS[name]) / "config.json").read_text())
    places = [("", key) for key in config if key != "model_type"]
    places += [(part, key) for part in ("text_config", "vision_config") for key in config[part]]
    read = set()
    for part, key in places:
        for null in (True, False):
            changed = copy.deepcopy(config)
            inner = changed[part] if part else changed
            del inner[key]
            if null:
                inner[key] = None
            try:
                found: object = describe(changed, "config.json", "x")
            except CheckpointError:
                found = None
            theirs = _filled(changed)
            if theirs is None:
                assert found is None or (null and key in TAKES_NULL), (part, key, null)
            elif found is not None:
                assert found == describe(theirs, "config.json", "x"), (part, key, null)
                read.add(key)
    assert len(read) > 20


TAKES_NULL = ("image_seq_length", "num_key_value_heads", "head_dim")
"""What transformers has no null for in some models, though it means the default in others, or nothing is read of it."""


def _filled(config: dict[str, Any]) -> dict[str, Any] | None:
    """The config with all defaults of transformers; None if it refuses it."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import LlavaConfig

    try:
        return {"model_type": "llava", **_whole(LlavaConfig(**copy.deepcopy(config)))}
    except (StrictDataclassError, ValueError, TypeError, AttributeError, KeyError):
        return None


@pytest.mark.parametrize(
    ("place", "facts"),
    [
        ("vision_config", ["clip_vision_model", "siglip_vision_model"]),
        ("text_config", ["llama", "mistral", "qwen2", "qwen3"]),
    ],
)
def test_a_part_of_an_unknown_kind_is_refused(place: str, facts: list[str]) -> None:
    with pytest.raises(CheckpointError) as refused:
        describe({"model_type": "llava", place: {"model_type": "novelty"}}, "config.json", "x")
    says(refused, f"{place}.model_type", "novelty", *facts)


@pytest.mark.parametrize(
    "key", ["hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size", "mm_hidden_size"]
)
@pytest.mark.parametrize("text", [{}, {"text_config": None}])
def test_sizes_where_transformers_does_not_look_are_refused(key: str, text: dict[str, None]) -> None:
    with pytest.raises(CheckpointError) as refused:
        describe({"model_type": "llava", key: 5, **text}, "config.json", "x")
    says(refused, key, "text_config")


def test_heads_of_llama_divide_its_width() -> None:
    with pytest.raises(CheckpointError) as refused:
        _decoder(hidden_size=50, num_attention_heads=4, head_dim=12)
    says(refused, "num_attention_heads", 50)
    given = {"hidden_size": 50, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12}
    assert _decoder(model_type="mistral", **given).head_dim == 12


@pytest.mark.parametrize(("name", "known"), SAME_ACTIVATION.items())
def test_other_names_of_activations_are_the_same_functions(name: str, known: str) -> None:
    import torch
    from transformers.activations import ACT2FN

    numbers = torch.linspace(-9, 9, 5001, dtype=torch.float64)
    torch.testing.assert_close(ACT2FN[name](numbers), ACT2FN[known](numbers), rtol=0, atol=1e-12)
    given = {"hidden_size": 96, "num_attention_heads": 6}
    assert _tower("clip_vision_model", **given, hidden_act=name) == _tower(
        "clip_vision_model", **given, hidden_act=known
    )
    both = [describe({"model_type": "llava", "projector_hidden_act": act}, "c", "x") for act in (name, known)]
    assert both[0] == both[1]
    assert _decoder(hidden_act="swish") == _decoder(hidden_act="silu")


@pytest.mark.parametrize("layer", [-2, [-2], [-1]])
def test_one_layer_may_stand_in_a_list(layer: object) -> None:
    alone = layer[0] if isinstance(layer, list) else layer
    given = {"model_type": "llava", "vision_feature_layer": layer}
    assert describe(given, "c", "x") == describe({**given, "vision_feature_layer": alone}, "c", "x")


@pytest.mark.parametrize("layer", [[], [-2, -3], ["-2"], [[-2]], True, None])
def test_layers_that_are_not_one(layer: object) -> None:
    with pytest.raises(CheckpointError) as refused:
        describe({"model_type": "llava", "vision_feature_layer": layer}, "c", "x")
    says(refused, "vision_feature_layer")


def test_the_rows_of_a_sliding_window_bound_the_context() -> None:
    assert _decoder(model_type="mistral", sliding_window=512).max_positions == 512
    assert _decoder(model_type="mistral", sliding_window=None, max_position_embeddings=900).max_positions == 900
    assert _decoder(model_type="qwen2", sliding_window=512).max_positions == 32768, "not asked for"
    assert _decoder(model_type="llama", sliding_window=512).max_positions == 2048, "Llama has none"


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ({"rope_parameters": {"rope_type": "longrope"}}, "longrope"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "full_attention"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rope_theta": None}, "rope_theta"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps"),
        ({"model_type": "gemma2"}, "gemma2"),
    ],
    ids=str,
)
def test_a_decoder_that_cannot_be_compiled(given: dict[str, Any], fact: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        _decoder(**given)
    assert fact in str(refused.value)
    assert "text_config." in str(refused.value)


@pytest.mark.parametrize(("width", "size"), [(4096, "7b"), (5120, "13b")])
def test_the_authors_own_layout_is_refused_by_the_name_of_the_converted_one(
    tmp_path: Path, width: int, size: str
) -> None:
    config = {"model_type": "llava", "hidden_size": width, "mm_vision_tower": "openai/clip-vit-large-patch14-336"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError) as refused:
        read_description(tmp_path / "config.json", "llava-v1.5")
    assert f"llava-hf/llava-1.5-{size}-hf" in str(refused.value)
