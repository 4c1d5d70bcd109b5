"""The sizes of published Qwen checkpoints, as their ``config.json`` state them."""

from __future__ import annotations

from typing import Any


def _text(width: int, layers: int, heads: int, kv_heads: int, mlp: int, vocabulary: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": mlp,
        "vocab_size": vocabulary,
    }


def _second(
    model_type: str, text: dict[str, Any], vision: dict[str, Any], *, tied: bool, positions: int = 128000
) -> dict[str, Any]:
    """Qwen2-VL and Qwen2.5-VL: the decoder's fields stand at the top."""
    return {
        "model_type": model_type,
        **text,
        "hidden_act": "silu",
        "max_position_embeddings": positions,
        "max_window_layers": text["num_hidden_layers"],
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "sliding_window": 32768,
        "use_sliding_window": False,
        "tie_word_embeddings": tied,
        "image_token_id": 151655,
        "video_token_id": 151656,
        "vision_config": vision,
    }


def _windowed(out: int, mlp: int) -> dict[str, Any]:
    return {
        "depth": 32,
        "hidden_act": "silu",
        "hidden_size": 1280,
        "intermediate_size": mlp,
        "num_heads": 16,
        "in_chans": 3,
        "out_hidden_size": out,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "tokens_per_second": 2,
        "temporal_patch_size": 2,
    }


def _whole(out: int) -> dict[str, Any]:
    return {
        "depth": 32,
        "embed_dim": 1280,
        "mlp_ratio": 4,
        "num_heads": 16,
        "in_chans": 3,
        "hidden_size": out,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
    }


def _third(text: dict[str, Any], vision: tuple[int, int, int, list[int]], *, tied: bool) -> dict[str, Any]:
    """Qwen3-VL."""
    depth, width, mlp, deepstack = vision
    return {
        "model_type": "qwen3_vl",
        "image_token_id": 151655,
        "video_token_id": 151656,
        "tie_word_embeddings": tied,
        "text_config": {
            "model_type": "qwen3_vl_text",
            **text,
            "attention_bias": False,
            "head_dim": 128,
            "hidden_act": "silu",
            "max_position_embeddings": 262144,
            "rms_norm_eps": 1e-6,
            "rope_theta": 5000000,
            "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
        },
        "vision_config": {
            "model_type": "qwen3_vl",
            "depth": depth,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": width,
            "in_channels": 3,
            "intermediate_size": mlp,
            "num_heads": 16,
            "num_position_embeddings": 2304,
            "out_hidden_size": text["hidden_size"],
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "deepstack_visual_indexes": deepstack,
        },
    }


_SMALL, _LARGE = (24, 1024, 4096, [5, 11, 17]), (27, 1152, 4304, [8, 16, 24])
_OF_7B, _OF_72B = _text(3584, 28, 28, 4, 18944, 152064), _text(8192, 80, 64, 8, 29568, 152064)
CONFIGS: dict[str, dict[str, Any]] = {
    "Qwen2-VL-2B": _second("qwen2_vl", _text(1536, 28, 12, 2, 8960, 151936), _whole(1536), tied=True, positions=32768),
    "Qwen2-VL-7B": _second("qwen2_vl", _OF_7B, _whole(3584), tied=False, positions=32768),
    "Qwen2-VL-72B": _second("qwen2_vl", _OF_72B, _whole(8192), tied=False, positions=32768),
    "Qwen2.5-VL-3B": _second("qwen2_5_vl", _text(2048, 36, 16, 2, 11008, 151936), _windowed(2048, 3420), tied=True),
    "Qwen2.5-VL-7B": _second("qwen2_5_vl", _OF_7B, _windowed(3584, 3420), tied=False),
    "Qwen2.5-VL-32B": _second("qwen2_5_vl", _text(5120, 64, 40, 8, 27648, 152064), _windowed(5120, 3456), tied=False),
    "Qwen2.5-VL-72B": _second("qwen2_5_vl", _OF_72B, _windowed(8192, 3456), tied=False),
    "Qwen3-VL-2B": _third(_text(2048, 28, 16, 8, 6144, 151936), _SMALL, tied=True),
    "Qwen3-VL-4B": _third(_text(2560, 36, 32, 8, 9728, 151936), _SMALL, tied=True),
    "Qwen3-VL-8B": _third(_text(4096, 36, 32, 8, 12288, 151936), _LARGE, tied=False),
    "Qwen3-VL-32B": _third(_text(5120, 64, 64, 8, 25600, 151936), _LARGE, tied=False),
}
