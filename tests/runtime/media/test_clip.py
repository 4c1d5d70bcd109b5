"""Clips of every kind give some of their frames with their times, or one line saying why not."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clasp_trt.errors import ImageError
from clasp_trt.runtime.media import animation, clip, sampling
from clasp_trt.runtime.media.clip import Clip, load_clip
from tests.mistakes import says

SIZE = (16, 12)
DURATIONS = [100, 50, 200, 30, 70, 40, 90, 10, 20, 60]


def frame(number: int) -> Image.Image:
    return Image.new("RGB", SIZE, (20 * number, 0, 255 - 20 * number))


def frames(count: int) -> list[Image.Image]:
    return [frame(number) for number in range(count)]


def encoded(format: str, count: int = 10, **options: Any) -> bytes:
    buffer, (first, *others) = io.BytesIO(), frames(count)
    timed = {} if count == 1 else {"save_all": True, "append_images": others, "duration": DURATIONS[:count]}
    first.save(buffer, format, **timed, **options)
    return buffer.getvalue()


def numbers(found: Clip) -> list[int]:
    """Which of the frames these are."""
    return [round(np.asarray(each)[..., 0].mean() / 20) for each in found.frames]


@pytest.mark.parametrize(("format", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_animations(tmp_path: Path, format: str, options: dict[str, Any]) -> None:
    data = encoded(format, **options)
    path = tmp_path / "clip"
    path.write_bytes(data)
    starts = np.cumsum([0, *DURATIONS[:-1]]) / 1e3
    for source in (data, path, str(path), io.BytesIO(data)):
        found = load_clip(source, frames=4)
        assert numbers(found) == [0, 2, 5, 7]
        np.testing.assert_allclose(found.seconds, starts[[0, 2, 5, 7]])
        assert {(each.mode, each.size) for each in found.frames} == {("RGB", SIZE)}
    whole = load_clip(data, frames=50)
    assert numbers(whole) == list(range(10))
    np.testing.assert_allclose(whole.seconds, starts)
    assert load_clip(whole) is whole


def test_a_still_gif_is_a_clip_of_one_frame() -> None:
    assert load_clip(encoded("GIF", 1)).seconds == (0.0,)


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    for number in range(12):
        frame(number).save(tmp_path / f"shot-{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / ".hidden.png").write_bytes(b"")
    found = load_clip(tmp_path, frames=6, fps=4)
    assert numbers(found) == [0, 2, 4, 6, 8, 10]
    assert found.seconds == (0, 0.5, 1, 1.5, 2, 2.5)


def test_a_list_of_frames(tmp_path: Path) -> None:
    frame(2).save(tmp_path / "2.png")
    found = load_clip([frame(0), frame(1), tmp_path / "2.png", frame(3)], frames=2)
    assert (numbers(found), found.seconds) == ([0, 2], (0, 2))


@pytest.mark.parametrize(
    ("source", "options", "facts"),
    [
        ([], {}, ("0 frames",)),
        ("empty", {}, ("empty", "0 frames")),
        ("nowhere.mp4", {}, ("nowhere.mp4",)),
        (3, {}, ("video", "int")),
        (b"", {}, ("the data given",)),
        (encoded("PNG", 1), {}, ("does not move", "--image")),
        (encoded("JPEG", 1), {}, ("does not move", "--image")),
        (encoded("GIF")[:-300], {}, ("damaged",)),
        (encoded("GIF"), {"max_pixels": 100}, ("16x12",)),
        ([frame(0)], {"frames": 0}, ("frames", 0, "1 to 512")),
        ([frame(0)], {"frames": 2.0}, ("frames", "2.0")),
        ([frame(0)], {"fps": 0}, ("fps", 0)),
        ([frame(0)], {"fps": float("nan")}, ("fps", "nan")),
        ([frame(0), b"no picture"], {}, ("the data given",)),
        ("empty", {"sources": ("data",)}, ("empty", "not taken")),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Any, options: dict[str, Any], facts: tuple[object, ...]
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError) as refused:
        load_clip(source, **options)
    says(refused, *facts)


def test_bounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = encoded("GIF")
    for place, name, value, fact in (
        (sampling, "MOST_PIXELS", 4 * 16 * 12 - 1, "megapixels"),
        (sampling, "SECONDS", -1.0, "decode"),
        (animation, "_MOST", 9, "10 frames"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, value)
            with pytest.raises(ImageError) as refused:
                load_clip(data, frames=4)
            says(refused, fact)
    monkeypatch.setattr(clip, "MOST_ENTRIES", 2)
    for number in range(3):
        frame(number).save(tmp_path / f"{number}.png")
    for source in (tmp_path, frames(3)):
        with pytest.raises(ImageError) as refused:
            load_clip(source)
        says(refused, 2)


def test_without_pyav_a_video_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImageError) as refused:
        load_clip(b"\0\0\0\x18ftypmp42 and so on")
    says(refused, "PyAV", "clasp-trt[video]", "folder")


# --- video files --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def video() -> bytes:
    """25 frames, 10 a second, each 10 brighter than the one before."""
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(25):
            pixels = np.full((48, 64, 3), number * 10, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


def test_video_files(video: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(video)
    for source in (video, path, io.BytesIO(video)):
        found = load_clip(source, frames=5)
        np.testing.assert_allclose(found.seconds, [0, 0.5, 1, 1.5, 2])
        assert [round(np.asarray(each).mean() / 50) for each in found.frames] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"hello",
    ],
)
def test_what_names_other_files_is_no_video(data: bytes) -> None:
    pytest.importorskip("av")
    with pytest.raises(ImageError, match="not a video"):
        load_clip(data)


def test_a_damaged_or_large_video(video: bytes) -> None:
    for source, options in ((video[:400], {}), (video, {"max_pixels": 64 * 48 - 1})):
        with pytest.raises(ImageError) as refused:
            load_clip(source, **options)
        says(refused, "the data given")
