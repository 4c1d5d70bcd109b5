"""The models that plans are made of, as the configs that their publishers ship, or made up with no weights behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clasp_trt import schedule as schedules
from clasp_trt import targets
from clasp_trt.export.description import Description
from clasp_trt.export.family import describe
from clasp_trt.tools.plan import Machine, Request

VISION = {"model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096}
VISION |= {"num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768}
LLAVA_7B: dict[str, Any] = {
    "model_type": "llava",
    "text_config": {"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 32064},
    "vision_config": VISION,
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "tie_word_embeddings": False,
}
LLAVA_13B: dict[str, Any] = {
    **LLAVA_7B,
    "text_config": {
        **LLAVA_7B["text_config"],
        **{"hidden_size": 5120, "intermediate_size": 13824, "num_attention_heads": 40, "num_hidden_layers": 40},
        "num_key_value_heads": 40,
    },
}
MACHINE = Machine(flops=300e9, bandwidth=30e9, memory=24_000_000_000)


@pytest.fixture
def llava_7b() -> Description:
    return describe(LLAVA_7B, "config.json", "llava-1.5-7b-hf")


@pytest.fixture
def request_7b(llava_7b: Description) -> Callable[..., Request]:
    """LLaVA-1.5-7B in fp16 at budget 192, on a target, with other fields changed at will."""

    def build(target: str = "orin-agx-64", **fields: Any) -> Request:
        schedule = schedules.solve(576, 32, 192)
        given = {"schedule": schedule, "precision": "fp16", "context": 2048, **fields}
        return Request(llava_7b, targets.get(target), **given)

    return build
