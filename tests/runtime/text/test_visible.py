"""What rows of a prompt see, against the masks that transformers makes; and what steps see, against plain counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import Gemma2Config, Gemma3TextConfig
from transformers.masking_utils import create_masks_for_generate
from transformers.models.gemma3.modeling_gemma3 import create_masks_for_vision_model, get_block_sequence_ids_for_mask

from clasp_trt.runtime.text.visible import Sight, visible

WINDOW = 5
PROMPTS = {
    "no picture": "tttttttt",
    "one": "ttvvvvvvvtt",
    "at both ends": "vvvttvv",
    "several": "tvvvvtvvtvvvvvvvvt",
    "all": "vvvvvvv",
    "one row": "t",
}


def _masks(kind: str, is_visual: NDArray[np.bool_]) -> Any:
    """Bool ``[rows, rows]`` of the layers that see all and of those that slide."""
    sizes = {"hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 2, "sliding_window": WINDOW}
    config: Any = (Gemma3TextConfig if kind == "blocks" else Gemma2Config)(**sizes)
    config._attn_implementation = "sdpa"
    rows = len(is_visual)
    common: dict[str, Any] = {
        "config": config, "inputs_embeds": torch.zeros(1, rows, 8), "attention_mask": torch.ones(1, rows),
        "past_key_values": None, "position_ids": torch.arange(rows)[None],
    }  # fmt: skip
    if kind == "blocks":
        ids = get_block_sequence_ids_for_mask(torch.from_numpy(is_visual.astype(np.int64))[None])
        made: Any = create_masks_for_vision_model(**common, block_sequence_ids=ids)
    else:
        made = create_masks_for_generate(**common, block_sequence_ids=torch.zeros(1, rows, dtype=torch.long))
    return made["full_attention"][0, 0].bool().numpy(), made["sliding_attention"][0, 0].bool().numpy()


@pytest.mark.parametrize("kind", ["blocks", "prefix"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_sees_what_it_does_in_transformers(kind: str, prompt: str) -> None:
    is_visual = np.array([letter == "v" for letter in PROMPTS[prompt]])
    seen, places = visible(kind, len(is_visual), np.flatnonzero(is_visual), WINDOW), np.arange(len(is_visual))
    assert seen is not None
    (first,), (end,) = seen
    whole, sliding = _masks(kind, is_visual)
    np.testing.assert_array_equal(places < end[:, None], whole)
    np.testing.assert_array_equal((places >= first[:, None]) & (places < end[:, None]), sliding)


def test_without_a_window_all_that_came_before_is_seen() -> None:
    seen = visible("blocks", 9, np.array([3, 4]), None)
    assert seen is not None
    assert seen[0, 0].tolist() == [0] * 9


def test_causal_rows_are_told_nothing() -> None:
    assert visible("causal", 9, np.array([3, 4]), None) is None


@settings(deadline=None)
@given(st.data())
def test_steps_see_the_window_of_original_positions(data: st.DataObject) -> None:
    start, rows = data.draw(st.integers(0, 1)), data.draw(st.integers(1, 20))
    window = data.draw(st.none() | st.integers(1, 25))
    stays = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), np.bool_)
    following = start + rows
    positions = np.arange(start, following)[stays]
    sight = Sight(positions, following, window)
    for step in range(data.draw(st.integers(1, 12))):
        places = np.concatenate([positions, np.arange(following, following + step + 1)])
        own = following + step
        expected = places > own - window if window is not None else np.ones(len(places), np.bool_)
        (((first,),), ((end,),)) = sight.of(own)
        assert end == len(places)
        assert [place >= first for place in range(end)] == expected.tolist()
        np.testing.assert_array_equal(sight.of(following, step + 1)[..., -1:], sight.of(own), "of several rows alike")
