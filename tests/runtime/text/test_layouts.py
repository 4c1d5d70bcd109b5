"""Layouts and positions: what each kind puts where."""

from __future__ import annotations

import numpy as np

from clasp_trt.bundle.media import Run, Sequential, Spatial
from clasp_trt.runtime.media.seen import Block
from clasp_trt.runtime.text import layouts, positions
from tests.prompts import boxes

BLOCKS = [Block(4, (1, 2, 2), boxes(2)), Block(9, (1, 3, 3), boxes(3))]


def test_a_run_is_one_number_between_two_texts() -> None:
    assert layouts.pieces(Run("<image>", "<pad>", 7, "<s>", "</s>"), BLOCKS) == ("<s>", 13, "</s>")


def test_sequential_positions_count_every_row() -> None:
    for start in (0, 1):
        found, following = positions.positions(Sequential(start), 20, BLOCKS, np.arange(3, 16))
        np.testing.assert_array_equal(found, [list(range(start, start + 20))])
        assert (found.dtype, following) == (np.int64, start + 20)


def test_every_kind_of_the_manifest_is_known() -> None:
    assert list(layouts.KINDS) == [Run.kind]
    assert list(positions.KINDS) == [Sequential.kind, Spatial.kind]
