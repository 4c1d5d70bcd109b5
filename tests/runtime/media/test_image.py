"""load_image gives transformers' pixels, and one line for everything that is not an image."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clasp_trt.errors import ImageError
from clasp_trt.runtime.media import image as module
from clasp_trt.runtime.media.image import load_image
from tests.mistakes import says

ENCODINGS = {"RGBA": "PNG", "LA": "PNG", "CMYK": "JPEG", "YCbCr": "JPEG"}


def same(left: Image.Image, right: Image.Image) -> bool:
    return left.mode == right.mode == "RGB" and np.array_equal(np.asarray(left), np.asarray(right))


def refusal(source: object) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(source)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


def test_each_source_gives_the_same_pixels(photos: dict[str, Path]) -> None:
    path = photos["chelsea"]
    data = path.read_bytes()
    text = base64.b64encode(data).decode()
    wrapped = base64.encodebytes(data).decode()  # with line ends
    expected = Image.open(path).convert("RGB")
    for source in (path, str(path), data, text, wrapped, f"data:image/jpeg;base64,{text}", Image.open(path)):
        assert same(load_image(source), expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "1", "P", "P transparent", "CMYK", "YCbCr"])
def test_modes_match_transformers(
    mode: str, variants: dict[str, Image.Image], encode: Callable[..., bytes], tmp_path: Path
) -> None:
    reference = pytest.importorskip("transformers.image_utils").load_image
    file = tmp_path / "image"
    file.write_bytes(encode(variants[mode], ENCODINGS.get(mode, "PNG")))
    assert Image.open(file).mode == mode.split()[0] or mode == "YCbCr"
    assert same(load_image(file), reference(str(file)))
    assert same(load_image(variants[mode]), reference(variants[mode]))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_orientations_match_transformers(
    orientation: int,
    format: str,
    variants: dict[str, Image.Image],
    encode: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    reference = pytest.importorskip("transformers.image_utils").load_image
    file = tmp_path / "image"
    file.write_bytes(encode(variants["RGB odd"], format, orientation))
    ours = load_image(file)
    assert ours.size == ((197, 211) if orientation < 5 else (211, 197))
    assert same(ours, reference(str(file)))


def test_a_loaded_image_is_the_callers_own(variants: dict[str, Image.Image]) -> None:
    given = variants["RGB odd"].copy()
    load_image(given).paste((0, 0, 0), (0, 0, 50, 50))
    assert same(given, variants["RGB odd"])


def test_what_is_not_there(tmp_path: Path) -> None:
    assert "no image file" in refusal(tmp_path / "cat.jpg")
    assert "there is no file " in refusal(str(tmp_path / "cat.jpg"))
    assert "folder" in refusal(tmp_path)
    assert "folder" in refusal(str(tmp_path))
    for nothing in ("", "cat", "\0", "a" * 70, "é" * 200, "x" * 10_000, "data:image/png,abc", "data:"):
        refusal(nothing)
    assert "not int" in refusal(3)


def test_what_is_not_an_image(tmp_path: Path, encode: Callable[..., bytes], photos: dict[str, Path]) -> None:
    data = photos["chelsea"].read_bytes()
    assert "not an image" in refusal(b"")
    assert "not an image" in refusal(b"GIF89a")
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    assert "notes.txt" in refusal(text)
    for part in (len(data) // 2, len(data) - 200):
        assert "truncated" in refusal(data[:part])
    assert "not an image" in refusal(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # never reaches Ghostscript


def test_bounds_on_sides(encode: Callable[..., bytes]) -> None:
    assert "at least 2" in refusal(encode(Image.new("RGB", (1, 5))))
    assert "200 times" in refusal(encode(Image.new("RGB", (402, 2)).resize((403, 2))))
    assert load_image(encode(Image.new("RGB", (400, 2)))).size == (400, 2)
    assert load_image(encode(Image.new("L", (2, 2)))).size == (2, 2)


def test_size_in_bytes_is_bounded(monkeypatch: pytest.MonkeyPatch, photos: dict[str, Path]) -> None:
    data = photos["chelsea"].read_bytes()
    monkeypatch.setattr(module, "MAX_BYTES", len(data) - 1)
    assert "is over" in refusal(data)
    assert "is over" in refusal(base64.b64encode(data).decode())
    assert "is over" in refusal(Unseekable(data))


class Unseekable(io.BytesIO):
    """What a pipe or a response is like."""

    def seekable(self) -> bool:
        return False


def test_open_files(photos: dict[str, Path], tmp_path: Path) -> None:
    """Wound back, as Pillow does, and left open; or read to their end."""
    expected = load_image(photos["chelsea"])
    data = photos["chelsea"].read_bytes()
    written = io.BytesIO()
    written.write(data)
    with photos["chelsea"].open("rb") as file, photos["chelsea"].open("rb", buffering=0) as raw:
        for given in (file, raw, written, Unseekable(data)):
            assert same(load_image(given), expected)
            assert not given.closed
    says(refusal(io.StringIO("text")), "text", "'rb'")
    says(refusal(file), "the file given", "closed")


def test_a_pipe_is_read_to_its_end(photos: dict[str, Path], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for name in (pipe, str(pipe)):
        writer = threading.Thread(target=pipe.write_bytes, args=(photos["chelsea"].read_bytes(),))
        writer.start()
        assert same(load_image(name), load_image(photos["chelsea"]))
        writer.join()


def test_a_device_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 10**6)
    says(refusal("/dev/zero"), "/dev/zero", "over")


def test_a_name_for_standard_input(photos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(Unseekable(photos["chelsea"].read_bytes()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert same(load_image("-"), load_image(photos["chelsea"]))
    monkeypatch.setattr("sys.stdin", None)
    says(refusal("-"), "-", "standard input")


def test_sources_that_are_not_taken(photos: dict[str, Path], tmp_path: Path) -> None:
    """Nothing is asked of the disk or the network for what a service forbids."""
    path, data = photos["chelsea"], photos["chelsea"].read_bytes()
    text = base64.b64encode(data).decode()
    given: dict[str, list[object]] = {
        "files": [path, str(path), "-", "/dev/zero", str(tmp_path / "none.jpg")],
        "urls": ["http://127.0.0.1:1/x.png", "HTTPS://127.0.0.1:1/x.png", " http://127.0.0.1:1/x"],
        "data": [text, f"data:;base64,{text}", f"DATA:image/jpeg;base64,{text}"],
    }
    for kind, several in given.items():
        for source in several:
            with pytest.raises(ImageError, match="not taken here"):
                load_image(source, sources=[name for name in module.SOURCES if name != kind])  # type: ignore[arg-type]
    for source in (data, io.BytesIO(data), Image.open(path)):
        assert load_image(source, sources=()).mode == "RGB"
    assert same(load_image(text, sources=("data",)), load_image(path))
    for sources in (("file",), "data", ("data", "")):
        with pytest.raises(ImageError, match="sources"):
            load_image(text, sources=sources)


def test_text_is_measured_before_it_is_copied() -> None:
    """Of 256 MB that cannot be a picture, no copy is made."""
    for text in ("A" * (1 << 28), " " + "A" * (1 << 28), "data:;base64," + "A" * (1 << 28)):
        tracemalloc.start()
        says(refusal(text), "over", 64)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20
        del text


@pytest.mark.parametrize("most", [0, -1, True, 1.5, 178_000_001])
def test_a_bound_that_is_none(most: object) -> None:
    with pytest.raises(ImageError, match="max_pixels"):
        load_image(b"", max_pixels=most)  # type: ignore[arg-type]


@given(st.binary(max_size=400), st.integers(0, 35_000))
@settings(max_examples=60, deadline=None)
def test_damage_never_escapes_as_another_error(noise: bytes, at: int) -> None:
    data = bytearray((Path(__file__).resolve().parents[3] / "examples/photos/chelsea.jpg").read_bytes())
    data[at : at + len(noise)] = noise
    for source in (bytes(data), noise):
        with contextlib.suppress(ImageError):
            assert load_image(source).mode == "RGB"


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_text_escapes_as_another_error(text: str) -> None:
    refusal("data:" + text)
    refusal("http:" + text) if not text.startswith("//") else None
