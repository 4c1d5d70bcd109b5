"""Configs as the publishers of split pictures ship them, with no weights behind: sizes alone."""

from __future__ import annotations

from typing import Any

_EYE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_LARGE_EYE = {"hidden_size": 3200, "num_hidden_layers": 45, "num_attention_heads": 25, "intermediate_size": 12800}


def _text(kind: str, layers: int, width: int, heads: int, kv_heads: int, mlp: int, vocabulary: int) -> dict[str, Any]:
    return {
        "model_type": kind, "num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "intermediate_size": mlp, "vocab_size": vocabulary,
    }  # fmt: skip


def _internvl(text: dict[str, Any], *, large: bool = False) -> dict[str, Any]:
    vision: dict[str, Any] = {**_EYE, "attention_bias": True, "image_size": [448, 448], "patch_size": [14, 14]}
    if large:
        vision |= {**_LARGE_EYE, "attention_bias": False, "norm_type": "rms_norm", "use_qk_norm": True}
    return {"model_type": "internvl", "vision_config": vision, "text_config": text, "tie_word_embeddings": False}


def _idefics3(text: dict[str, Any], scale: int, image: int, patch: int, *, base: bool = False) -> dict[str, Any]:
    vision = {"image_size": image, "patch_size": patch, "hidden_size": 1152, "num_attention_heads": 16}
    vision |= {"num_hidden_layers": 27, "intermediate_size": 4304}
    if base:
        vision |= {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12, "intermediate_size": 3072}
    return {"model_type": "idefics3", "vision_config": vision, "text_config": text, "scale_factor": scale}


INTERNVL = {
    "InternVL3-1B-hf": _internvl(_text("qwen2", 24, 896, 14, 2, 4864, 151674)),
    "InternVL3-2B-hf": _internvl(_text("qwen2", 28, 1536, 12, 2, 8960, 151674)),
    "InternVL3-8B-hf": _internvl(_text("qwen2", 28, 3584, 28, 4, 18944, 151674)),
    "InternVL3-14B-hf": _internvl(_text("qwen2", 48, 5120, 40, 8, 13824, 151674)),
    "InternVL3-38B-hf": _internvl(_text("qwen2", 64, 5120, 40, 8, 27648, 151674), large=True),
}
IDEFICS3 = {
    "SmolVLM-256M": _idefics3(_text("llama", 30, 576, 9, 3, 1536, 49280), 4, 512, 16, base=True),
    "SmolVLM-500M": _idefics3(_text("llama", 32, 960, 15, 5, 2560, 49280), 4, 512, 16, base=True),
    "SmolVLM-2.2B": _idefics3(_text("llama", 24, 2048, 32, 32, 8192, 49155), 3, 384, 14),
    "Idefics3-8B": _idefics3(_text("llama", 32, 4096, 32, 8, 14336, 128259), 2, 364, 14),
}


def _onevision(text: dict[str, Any], *, tied: bool = False) -> dict[str, Any]:
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26,
        "num_attention_heads": 16, "image_size": 384, "patch_size": 14, "vision_use_head": False,
    }  # fmt: skip
    text = {**text, "max_position_embeddings": 32768}
    return {"model_type": "llava_onevision", "vision_config": vision, "text_config": text, "tie_word_embeddings": tied}


ONEVISION = {
    "llava-onevision-qwen2-0.5b-ov": _onevision(_text("qwen2", 24, 896, 14, 2, 4864, 152000), tied=True),
    "llava-onevision-qwen2-7b-ov": _onevision(_text("qwen2", 28, 3584, 28, 4, 18944, 152128)),
    "llava-onevision-qwen2-72b-ov": _onevision(_text("qwen2", 80, 8192, 64, 8, 29568, 152128)),
}
_CLIP = {**_EYE, "model_type": "clip_vision_model", "projection_dim": 768, "vocab_size": 32000, "patch_size": 14}
_VICUNA = {**_text("llama", 32, 4096, 32, 32, 11008, 32064), "max_position_embeddings": 4096}


def _next_video(text: dict[str, Any]) -> dict[str, Any]:
    vision = {**_CLIP, "image_size": 336}
    return {"model_type": "llava_next_video", "vision_config": vision, "text_config": text}


LLAVA_NEXT_VIDEO = {
    "LLaVA-NeXT-Video-7B-hf": _next_video(_VICUNA),
    "LLaVA-NeXT-Video-7B-DPO-hf": _next_video(_VICUNA),
    "LLaVA-NeXT-Video-34B-hf": _next_video(_text("llama", 60, 7168, 56, 8, 20480, 64064)),
}
VIDEO_LLAVA = {
    "Video-LLaVA-7B-hf": {
        "model_type": "video_llava", "vision_config": {**_CLIP, "image_size": 224}, "text_config": _VICUNA,
    },
}  # fmt: skip
