"""Frames: what is left of a question when the words that fill a template are taken out."""

from __future__ import annotations

import pytest

from clasp_trt.tools.routers.frames import Frames

FRAMES = Frames({"noun": ("fire truck", "truck", "{animal}"), "animal": ("owl",), "物": ("杯子",)})


@pytest.mark.parametrize(
    ("question", "frame"),
    [
        ("Is there a truck?", "is there _"),
        ("is there an OWL", "is there _"),
        ("is there a fire truck", "is there _"),
        ("are there fire trucks behind the owls", "are there _ behind _"),
        ("is this a truck, owl", "is this _"),
        ("is there a bird", "is there bird"),
        ("有杯子吗", "有 _ 吗"),
        ("", ""),
    ],
)
def test_fillings_become_holes(question: str, frame: str) -> None:
    assert FRAMES.of(question) == frame
