"""LLaVA-1.5: a CLIP tower, a two-layer projector, a Llama (Vicuna) decoder.

What published configs leave out has the value that transformers gives it, tabled here.
"""

from __future__ import annotations

from clasp_trt.tools.plan.config import Settings
from clasp_trt.tools.plan.shapes import DecoderShape, ModelShape, ProjectorShape, TowerShape

DEFAULTS = {
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "multimodal_projector_bias": True,
    "tie_word_embeddings": False,
}
TEXT_DEFAULTS = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
}
VISION_DEFAULTS = {  # of a vision_config that is there; CLIP's own
    "model_type": "clip_vision_model",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
}
WHOLE_VISION = {  # of one that is missing: LLaVA-1.5's
    **VISION_DEFAULTS,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}
_STATIC_ROTARY = ("default", "linear", "llama3", "yarn")


def shape(name: str, source: str, config: object) -> ModelShape:
    """The sizes that ``config`` describes. Raises :class:`CheckpointError` for variants that cannot be built."""
    top = Settings(source, "", config, DEFAULTS)
    text = top.part("text_config", TEXT_DEFAULTS)
    vision = top.part("vision_config", WHOLE_VISION if top.get("vision_config") is None else VISION_DEFAULTS)
    top.require("vision_feature_select_strategy", "default")
    text.require("model_type", "llama")
    text.require("hidden_act", "silu")
    vision.require("model_type", "clip_vision_model")
    rotary = text.get("rope_parameters") or text.get("rope_scaling")
    if isinstance(rotary, dict):
        kind = rotary.get("rope_type", rotary.get("type", "default"))
        if kind not in _STATIC_ROTARY:
            raise text.wrong("rope_parameters", f"a rope_type among {', '.join(_STATIC_ROTARY)}")
    decoder = _decoder(text, tied=top.flag("tie_word_embeddings") or text.flag("tie_word_embeddings"))
    tower = _tower(vision, top)
    projector = ProjectorShape(tower.width, decoder.width, top.flag("multimodal_projector_bias"))
    return ModelShape(name, "llava", tower, projector, decoder)


def _decoder(text: Settings, *, tied: bool) -> DecoderShape:
    width, heads = text.count("hidden_size"), text.count("num_attention_heads")
    return DecoderShape(
        layers=text.count("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=text.count("num_key_value_heads", heads),
        head_dim=text.count("head_dim", width // heads),
        mlp=text.count("intermediate_size"),
        vocabulary=text.count("vocab_size"),
        max_positions=text.count("max_position_embeddings"),
        attention_bias=text.flag("attention_bias"),
        mlp_bias=text.flag("mlp_bias"),
        tied=tied,
    )


def _tower(vision: Settings, top: Settings) -> TowerShape:
    layers, feature = vision.count("num_hidden_layers"), top.get("vision_feature_layer")
    if type(feature) is not int or not -layers - 1 <= feature <= layers:
        raise top.wrong("vision_feature_layer", f"one hidden state of the tower's {layers} layers, such as -2")
    return TowerShape(
        layers=layers,
        width=vision.count("hidden_size"),
        heads=vision.count("num_attention_heads"),
        mlp=vision.count("intermediate_size"),
        image_size=vision.count("image_size"),
        patch_size=vision.count("patch_size"),
        channels=vision.count("num_channels"),
        feature_layer=feature if feature >= 0 else layers + 1 + feature,
    )
