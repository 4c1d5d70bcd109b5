"""The video settings of a folder: which frames are taken, at what areas, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clasp_trt.bundle import Clips, Frames, Grid, Pairs, Run
from clasp_trt.errors import CheckpointError
from clasp_trt.export.videos import BY_CLIP, BY_FRAME, Kind, filming, pairs, sampling
from clasp_trt.filming import Sampling
from tests.mistakes import says

ROOT, BLOCK = Path("folder"), 28**2
GRID = Grid(
    patch=14, merge=2, time=2, least_pixels=4 * BLOCK, most_pixels=100 * BLOCK, resample="bicubic", rescale=1 / 255,
    mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), window=None, table=None,
)  # fmt: skip
SIZE = {"size": {"shortest_edge": 8 * BLOCK, "longest_edge": 50 * BLOCK}}


def read(settings: dict[str, Any], kind: Kind = BY_FRAME, frames: int | None = None, tokens: int = 128) -> Clips:
    film = filming(settings, GRID, kind, tokens, ROOT)
    taken = sampling(settings, kind, film, frames, ROOT)
    return pairs(settings, GRID, kind, film, taken, "<|video_pad|>", 7, ROOT)


def test_areas_are_a_frames_or_the_whole_clips() -> None:
    one, whole = read(SIZE), read(SIZE, BY_CLIP)
    assert isinstance(one.processor, Pairs)
    assert isinstance(whole.processor, Pairs)
    assert (one.processor.frame.least_pixels, one.processor.frame.most_pixels) == (8 * BLOCK, 50 * BLOCK)
    assert [(each.processor.whole, each.processor.apart) for each in (one, whole)] == [(False, False), (True, True)]  # type: ignore[union-attr]
    assert isinstance(one.layout, Run)
    assert isinstance(whole.layout, Frames)


def test_frames_are_as_many_as_have_room() -> None:
    """Of 128 tokens and 8 at least in a step: 8 steps of two frames, as a small clip may have twice the least."""
    assert read(SIZE).sampling == Sampling("even", 16, 2.0, 4, 2)
    assert read(SIZE, frames=6).sampling.frames == 6
    assert read({**SIZE, "max_frames": 10, "min_frames": 2, "fps": 1}).sampling == Sampling("even", 10, 1.0, 2, 2)
    assert read({**SIZE, "num_frames": 12}).sampling == Sampling("even", 12, None, 4, 2)
    assert read(SIZE, BY_CLIP).sampling == Sampling("ends", 256, 2.0, 4, 1)


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"do_resize": False}, ("do_resize", "false", "true")),
        ({"patch_size": 16}, ("patch_size", 16, 14)),
        ({"temporal_patch_size": 1}, ("temporal_patch_size", 1, 2)),
        ({"video_processor_type": "OtherVideoProcessor"}, ("OtherVideoProcessor", "Qwen2VLVideoProcessor")),
        ({"fps": 0}, ("fps", 0)),
        ({"fps": "2"}, ("fps", "'2'")),
        ({"max_frames": 0}, ("max_frames", 0)),
        ({"num_frames": 2.5}, ("num_frames", "2.5")),
        ({"size": {"height": 3}}, ("video settings", "shortest_edge")),
    ],
)
def test_what_cannot_be_is_named(settings: dict[str, Any], facts: tuple[object, ...]) -> None:
    with pytest.raises(CheckpointError) as refused:
        read({**SIZE, **settings})
    says(refused, "folder", *facts)
