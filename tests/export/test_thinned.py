"""Which models' towers may drop patches, by their config alone."""

from __future__ import annotations

import pytest

from clasp_trt.errors import ScheduleError
from clasp_trt.export.family import describe, supported
from clasp_trt.thinning import AskedThinning
from tests.mistakes import says

ASKED = AskedThinning(2, 100)
CAN = ("llava", "paligemma")
FITTING = {
    "gemma3": {"mm_tokens_per_image": 49},
    "idefics3": {"vision_config": {"image_size": 256}},
    "smolvlm": {"vision_config": {"image_size": 256}},
    "qwen2_vl": {"vision_config": {"hidden_size": 8192}},
    "qwen2_5_vl": {"vision_config": {"out_hidden_size": 8192}},
    "qwen3_vl": {"vision_config": {"out_hidden_size": 4096}},
}
"""What transformers' defaults alone do not make a model of."""


@pytest.mark.parametrize("kind", CAN)
def test_where_each_patch_is_a_token(kind: str) -> None:
    whole = describe({"model_type": kind}, "config.json", kind)
    made = whole.thinned(ASKED)
    assert made.thinning is not None
    assert (made.thinning.of, made.tokens) == (whole.tower.tokens, whole.tokens)
    assert made.whole == whole.tower
    assert whole.thinned(None) is whole


@pytest.mark.parametrize("kind", sorted({*supported()} - {*CAN}))
def test_elsewhere_it_is_refused(kind: str) -> None:
    """By the name of the model, and with what drops tokens there."""
    with pytest.raises(ScheduleError) as error:
        describe({"model_type": kind, **FITTING.get(kind, {})}, "config.json", kind).thinned(ASKED)
    says(error, "--prune-tower", kind, "--prune-at encoder")
