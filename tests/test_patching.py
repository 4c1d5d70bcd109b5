"""Sizes of grids against transformers' own, and the ranges that graphs are built for against every picture."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from clasp_trt.patching import MAX_RATIO, Patching

QWEN2_5 = Patching(14, 2, 56 * 56, 28 * 28 * 1280, window=8)
QWEN3 = Patching(16, 2, 65536, 16777216)
SMALL = [
    Patching(2, 2, least * 16, most * 16, window=8)
    for least, most in ((1, 4), (4, 8), (16, 16), (4, 64), (16, 400), (300, 500))
]
SIDES = st.integers(1, 5000)


@pytest.mark.parametrize("patching", [QWEN2_5, QWEN3, Patching(14, 2, 3136, 3136)])
@given(height=SIDES, width=SIDES)
@settings(max_examples=150, deadline=None)
def test_size_is_the_librarys(patching: Patching, height: int, width: int) -> None:
    block = patching.block
    try:
        expected = smart_resize(height, width, block, patching.least_pixels, patching.most_pixels)
    except ValueError:
        with pytest.raises(ValueError, match="200 times"):
            patching.resized(height, width)
        return
    assert patching.resized(height, width) == expected
    assert patching.count(height, width) == expected[0] * expected[1] // block**2


@pytest.mark.parametrize(("height", "expected"), [(42, 56), (70, 56), (98, 112)])
def test_a_half_is_rounded_to_the_even(height: int, expected: int) -> None:
    assert QWEN2_5.resized(height, 560)[0] == expected


def test_counts_of_published_settings() -> None:
    assert (QWEN2_5.count(480, 640), QWEN2_5.count(1080, 1920)) == (391, 1222)
    assert (QWEN3.count(480, 640), QWEN3.count(1080, 1920)) == (300, 2040)
    assert QWEN2_5.token_range == (4, 391, 1280)


@pytest.mark.parametrize("patching", SMALL)
def test_no_picture_is_out_of_range(patching: Patching) -> None:
    """Of all small pictures and of slender ones."""
    few, _, many = patching.token_range
    sizes = [(short, long) for short in range(1, 40) for long in range(short, min(MAX_RATIO * short, 400) + 1, 3)]
    sizes += [(short, MAX_RATIO * short) for short in range(1, 60)]
    for height, width in sizes:
        rows, columns = patching.grid(height, width)
        assert few <= patching.count(height, width) <= many
        assert max(rows, columns) <= patching.longest
        assert math.ceil(rows / 8) * math.ceil(columns / 8) <= patching.window_range[-1]


@pytest.mark.parametrize("patching", SMALL)
@pytest.mark.parametrize("most", [60, 61, 67, 100, 199, 300])
def test_a_cap_holds_of_every_picture_and_raises_none(patching: Patching, most: int) -> None:
    capped = replace(patching, most_tokens=most)
    assert capped.token_range[-1] <= max(most, replace(patching, most_pixels=patching.least_pixels).token_range[-1])
    assert patching.least_pixels <= capped.area <= patching.most_pixels


@pytest.mark.parametrize("patching", [QWEN2_5, QWEN3])
@pytest.mark.parametrize("most", [200, 300, 128, 141, 4096, 10**6])
def test_what_a_cap_leaves_is_a_cap_of_the_same_area(patching: Patching, most: int) -> None:
    capped = replace(patching, most_tokens=most)
    assert replace(patching, most_tokens=capped.token_range[-1]).area == capped.area


def test_a_cap_is_met() -> None:
    assert replace(QWEN3, most_tokens=4096).token_range[-1] == 4096
    assert replace(QWEN2_5, most_tokens=300).area == 300 * 28 * 28
    assert replace(QWEN2_5, most_tokens=5000).area == QWEN2_5.most_pixels
    assert replace(QWEN2_5, most_tokens=64).token_range[-1] == 64
