"""Layouts and positions: what each kind puts where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clasp_trt.bundle import Frames
from clasp_trt.bundle.media import Run, Sequential, Tiles
from clasp_trt.bundle.media_reader import CLIP_LAYOUTS, LAYOUTS, POSITIONS
from clasp_trt.runtime.media.seen import Block
from clasp_trt.runtime.text import layouts, positions
from tests.prompts import boxes

BLOCKS = [Block(4, (1, 2, 2), boxes(2)), Block(9, (1, 3, 3), boxes(3))]


def test_a_run_is_one_number_between_two_texts() -> None:
    assert layouts.pieces(Run("<image>", "<pad>", 7, "<s>", "</s>"), BLOCKS) == ("<s>", 13, "</s>")


TILES = Tiles("<image>", "<image>", 7, "<cut><{row},{column}>", "\n", "\n<cut><all>", "<cut><one>", "<cut>")


def test_tiles_are_numbered_and_the_whole_picture_comes_last() -> None:
    tiles = [Block(4, (1, 2, 2), boxes(2), row, column) for row in (1, 2) for column in (1, 2, 3)]
    assert layouts.pieces(TILES, [*tiles, Block(4, (1, 2, 2), boxes(2))]) == (
        "<cut><1,1>", 4, "<cut><1,2>", 4, "<cut><1,3>", 4, "\n",
        "<cut><2,1>", 4, "<cut><2,2>", 4, "<cut><2,3>", 4, "\n",
        "\n<cut><all>", 4, "<cut>",
    )  # fmt: skip


def test_a_picture_that_is_not_cut_stands_alone() -> None:
    assert layouts.pieces(TILES, [Block(4, (1, 2, 2), boxes(2))]) == ("<cut><one>", 4, "<cut>")


def test_a_text_of_braces_is_no_format() -> None:
    block = Block(4, (1, 2, 2), boxes(2), 1, 1)
    odd = replace(TILES, tile="{0}{row!r}{row}{")
    assert layouts.pieces(odd, [block, BLOCKS[0]])[0] == "{0}{row!r}1{"


def test_sequential_positions_count_every_row() -> None:
    for start in (0, 1):
        found, following = positions.positions(Sequential(start), 20, BLOCKS, np.arange(3, 16))
        np.testing.assert_array_equal(found, [list(range(start, start + 20))])
        assert (found.dtype, following) == (np.int64, start + 20)


def test_every_kind_of_the_manifest_is_known() -> None:
    assert {*layouts.KINDS} == {*LAYOUTS, *CLIP_LAYOUTS}
    assert list(positions.KINDS) == list(POSITIONS)


def test_frames_say_when_they_were() -> None:
    record = Frames("<v>", "<i>", 7, "Look: ", "{number} at {clock} ({seconds} s): ", ".", "\n", "!")
    boxes = np.zeros((4, 4), np.float32)
    blocks = [Block(4, (1, 2, 2), boxes, seconds=at) for at in (0.25, 61.5)]
    expected = ("Look: ", "1 at 00:00 (0.2 s): ", 4, ".", "\n", "2 at 01:01 (61.5 s): ", 4, ".", "!")
    assert layouts.pieces(record, blocks) == expected


@pytest.mark.parametrize(
    ("seconds", "duration", "written"),
    [(3.9, None, "0:00:03"), (3.9, 5.2, "0:00:05"), (0.0, 3725.0, "1:02:05"), (0.0, 1e300, "115740740 days, 17:46:40")],
)
def test_a_clip_is_introduced_by_its_frames_and_its_length(
    seconds: float, duration: float | None, written: str
) -> None:
    blocks = [Block(4, (1, 2, 2), np.zeros((4, 4), np.float32), seconds=seconds, duration=duration)] * 2
    record = Frames("<v>", "<i>", 7, "{count} in {duration} {number}", "", "", "", "", ("one", "two", "three"))
    assert layouts.pieces(record, blocks)[0] == f"two in {written} {{number}}"
    assert layouts.pieces(replace(record, numerals=()), blocks)[0] == f"2 in {written} {{number}}"
