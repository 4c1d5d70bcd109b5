"""What a family says of a config alone: defaults are those of transformers, what cannot be compiled is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clasp_trt.errors import CheckpointError
from clasp_trt.export.config import Settings
from clasp_trt.export.decoder.configs import DECODERS, decoder
from clasp_trt.export.decoder.spec import DecoderSpec
from clasp_trt.export.family import describe, read_description
from clasp_trt.export.towers.configs import TOWERS
from clasp_trt.export.towers.spec import TowerSpec


def _whole(config: Any) -> dict[str, Any]:
    """All fields that transformers fills in, as JSON would carry them."""
    found: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return found


def _decoder(**config: Any) -> DecoderSpec:
    return decoder(Settings("config.json", "text_config.", config, {}))


def _tower(kind: str, **config: Any) -> TowerSpec:
    return TOWERS[kind](Settings("config.json", "vision_config.", config, {}), -2)


@pytest.mark.parametrize("kind", DECODERS)
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
