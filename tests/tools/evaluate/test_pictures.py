"""Pictures come in order, a few ahead, and a bad one speaks up when its turn comes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PIL import Image

from clasp_trt.errors import ImageError
from clasp_trt.tools.evaluate import pictures
from clasp_trt.tools.evaluate.pictures import AHEAD, decoded


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Twenty pictures, each as wide as its number says."""
    made = []
    for number in range(20):
        made.append(tmp_path / f"{number}.png")
        Image.new("RGB", (10 + number, 10)).save(made[-1])
    return made


def test_in_order(paths: list[Path]) -> None:
    with decoded(paths) as found:
        assert [picture.width for picture in found] == list(range(10, 30))


def test_no_more_than_a_few_ahead(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Path] = []
    load = pictures.load_image

    def count(path: Path) -> Image.Image:
        begun.append(path)
        return load(path)

    monkeypatch.setattr(pictures, "load_image", count)
    with decoded(paths) as found:
        next(found)
    assert len(begun) <= AHEAD + 1


def test_a_bad_picture_waits_for_its_turn(paths: list[Path]) -> None:
    paths[2].write_bytes(b"?")
    with decoded(paths) as found:
        assert [next(found).width, next(found).width] == [10, 11]
        with pytest.raises(ImageError, match=r"2\.png"):
            next(found)


def test_leaving_early_leaves_no_thread(paths: list[Path]) -> None:
    with decoded(paths) as found:
        next(found)
        assert [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
