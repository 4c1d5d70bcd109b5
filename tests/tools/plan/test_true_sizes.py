"""Models of the sizes that people have, planned from their config alone: nothing is drawn or downloaded."""

from __future__ import annotations

import time
from typing import Any

import pytest

from clasp_trt import schedule as schedules
from clasp_trt import targets
from clasp_trt.export.family import describe
from clasp_trt.tools.plan import Request, make
from tests.tools.plan.conftest import LLAVA_13B

PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
MODELS: dict[str, dict[str, Any]] = {
    "LLaVA-NeXT-13B": {**LLAVA_13B, "model_type": "llava_next", "image_grid_pinpoints": PINPOINTS},
    "Qwen2.5-VL-7B": {
        "model_type": "qwen2_5_vl",
        "image_token_id": 151655,
        "tie_word_embeddings": False,
        "text_config": {
            **{"model_type": "qwen2_5_vl_text", "hidden_size": 3584, "num_hidden_layers": 28, "vocab_size": 152064},
            **{"num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944, "rope_theta": 1e6},
            **{"max_position_embeddings": 128000, "rms_norm_eps": 1e-6},
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        },
        "vision_config": {
            **{"model_type": "qwen2_5_vl", "depth": 32, "hidden_size": 1280, "num_heads": 16, "out_hidden_size": 3584},
            **{
                "intermediate_size": 3420,
                "patch_size": 14,
                "window_size": 112,
                "fullatt_block_indexes": [7, 15, 23, 31],
            },
        },
    },
    "InternVL2-26B": {
        "model_type": "internvl",
        "image_token_id": 92546,
        "tie_word_embeddings": False,
        "text_config": {
            **{"model_type": "llama", "hidden_size": 6144, "num_hidden_layers": 48, "vocab_size": 92553},
            **{"num_attention_heads": 48, "num_key_value_heads": 8, "intermediate_size": 16384, "rope_theta": 1e6},
            **{"max_position_embeddings": 32768, "rms_norm_eps": 1e-5},
        },
        "vision_config": {
            **{"model_type": "internvl_vision", "hidden_size": 3200, "num_hidden_layers": 45, "image_size": [448, 448]},
            **{"num_attention_heads": 25, "intermediate_size": 12800, "patch_size": [14, 14], "norm_type": "rms_norm"},
            **{"use_qk_norm": True, "attention_bias": False},
        },
    },
}


PARAMETERS = {"LLaVA-NeXT-13B": 13_351_499_776, "Qwen2.5-VL-7B": 8_292_166_656, "InternVL2-26B": 25_514_186_112}
"""Of transformers' own modules by these configs."""


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_of_transformers(name: str) -> None:
    assert describe(MODELS[name], "config.json", name).parameters == PARAMETERS[name]


@pytest.mark.parametrize("name", MODELS)
def test_a_plan_takes_a_moment(name: str) -> None:
    start = time.process_time()
    model = describe(MODELS[name], "config.json", name)
    most, layers = max(model.tokens), model.decoder.layers
    schedule = schedules.solve(most, layers, most // 9)
    plan = make(Request(model, targets.get("h200"), schedule, "fp16", most + 1024))
    assert time.process_time() - start < 2
    assert plan.pruned.memory.total > 2 * model.decoder.parameters, "bytes, of two for each weight"
