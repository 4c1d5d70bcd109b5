"""Which frames of a clip are taken, and how large they become: the numbers of transformers' video processors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as by_frame
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as by_clip
from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor
from transformers.video_utils import VideoMetadata

from clasp_trt.filming import RULES, Filming, Sampling
from clasp_trt.patching import Patching

SIDES = st.integers(20, 900)


@given(st.integers(1, 400), st.integers(1, 64))
def test_rules(there: int, wanted: int) -> None:
    taken = min(there, wanted)
    for rule in RULES.values():
        found = rule(range(there), taken)
        assert len(found) == taken
        assert found == sorted(set(found))
        assert 0 <= found[0] <= found[-1] < there
    assert RULES["ends"](range(there), taken) == np.linspace(0, there - 1, taken).round().astype(int).tolist()
    assert RULES["even"](range(there), taken) == [int(number * there / taken + 1e-9) for number in range(taken)]


@given(st.integers(4, 2000), st.sampled_from([1.0, 12.5, 24.0, 30.0]))
def test_frames_a_second_as_in_the_library(there: int, rate: float) -> None:
    processor: Any = type("Bare", (), {"fps": 2, "min_frames": 4, "max_frames": 768})
    metadata = type("Metadata", (), {"total_num_frames": there, "fps": rate})
    expected = Qwen3VLVideoProcessor.sample_frames(processor, metadata)
    assert Sampling("ends", 768, 2.0, 4).numbers(there, there / rate) == expected.tolist()


@given(
    st.integers(1, 2000), st.integers(1, 64), st.sampled_from([1.0, 12.5, 24.0, 29.97]), st.sampled_from([0.5, 1, 2])
)
def test_seconds_from_end_to_end_as_in_the_library(there: int, most: int, rate: float, fps: float) -> None:
    metadata = VideoMetadata(there, rate, duration=there / rate)
    expected = SmolVLMVideoProcessor.sample_frames(None, metadata, num_frames=most, fps=fps)
    found = Sampling("span", most, fps, skip=1.0).numbers(there, there / rate)
    assert found == expected.tolist()


@given(st.integers(1, 2000), st.integers(1, 64))
def test_the_middle_of_each_part_as_in_the_library(there: int, most: int) -> None:
    taken = min(there, most)
    expected = torch.arange(there / taken / 2, there, there / taken).int()  # InternVLVideoProcessor.sample_frames
    assert Sampling("middle", most).numbers(there, 1.0) == expected.tolist()


def test_what_is_left_out_of_a_long_clip() -> None:
    sampling = Sampling("span", 4, 1.0, skip=1.0)
    assert sampling.numbers(60, 6.0) == [0, 19, 39, 59]
    assert sampling.numbers(70, 7.0) == [10, 26, 43, 60]


def test_multiples_where_there_are_so_many() -> None:
    found = [Sampling("even", 6, multiple=2).count(there, 1.0) for there in range(1, 9)]
    assert found == [1, 2, 2, 4, 4, 6, 6, 6]


@given(st.integers(1, 40), SIDES, SIDES)
def test_frames_by_themselves(frames: int, height: int, width: int) -> None:
    area = 50 * 28**2, 200 * 28**2
    film = Filming(Patching(14, 2, *area), 2, whole=False, most_tokens=20 * 200)
    assert film.resized(frames, height, width) == by_frame(height, width, 28, *area)


@given(st.integers(2, 40), SIDES, SIDES)
def test_frames_by_the_whole_clip(frames: int, height: int, width: int) -> None:
    area = 128 * 32**2, 900 * 32**2
    film = Filming(Patching(16, 2, *area), 2, whole=True, most_tokens=10**6)
    assert film.resized(frames, height, width) == by_clip(frames, height, width, 2, 32, *area)


@given(st.booleans(), st.integers(2, 60), SIDES, SIDES, st.integers(60, 400))
def test_a_clip_has_room(whole: bool, frames: int, height: int, width: int, most: int) -> None:
    film = Filming(Patching(14, 2, 4 * 28**2, 300 * 28**2), 2, whole, most)
    tall, wide = film.resized(frames, height, width)
    assert tall % 28 == wide % 28 == 0
    assert film.steps(frames) * tall * wide // 28**2 <= most


@pytest.mark.parametrize(
    ("whole", "frames", "size", "fact"),
    [(True, 1, (50, 50), "1 frame,"), (False, 2, (10, 4000), "200 times"), (False, 90, (50, 50), "45 tokens")],
)
def test_what_has_no_room_says_so(whole: bool, frames: int, size: tuple[int, int], fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        Filming(Patching(14, 2, 1, 10**6), 2, whole, 40).resized(frames, *size)
