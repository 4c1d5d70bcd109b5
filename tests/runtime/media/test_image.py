"""load_image gives transformers' pixels, and one line for everything that is not an image."""

from __future__ import annotations

import base64
import contextlib
import http.server
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clasp_trt.errors import ImageError
from clasp_trt.runtime.media import image as module
from clasp_trt.runtime.media.image import load_image

ENCODINGS = {"RGBA": "PNG", "LA": "PNG", "CMYK": "JPEG", "YCbCr": "JPEG", "I;16": "TIFF"}


def same(left: Image.Image, right: Image.Image) -> bool:
    return left.mode == right.mode == "RGB" and np.array_equal(np.asarray(left), np.asarray(right))


def refusal(source: object) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(source)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_each_source_gives_the_same_pixels(photos: dict[str, Path]) -> None:
    path = photos["chelsea"]
    data = path.read_bytes()
    text = base64.b64encode(data).decode()
    wrapped = base64.encodebytes(data).decode()  # with line ends
    expected = Image.open(path).convert("RGB")
    for source in (path, str(path), data, text, wrapped, f"data:image/jpeg;base64,{text}", Image.open(path)):
        assert same(load_image(source), expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "1", "P", "P transparent", "CMYK", "YCbCr", "I;16"])
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


@pytest.mark.parametrize("size", [(20_000, 20_000), (15_000, 12_000), (13_350, 13_350)])
def test_bombs_are_refused_from_the_header(size: tuple[int, int]) -> None:
    assert "178 megapixels" in refusal(png_header(*size))


def test_a_large_photo_is_no_bomb(recwarn: pytest.WarningsRecorder) -> None:
    refused = refusal(png_header(13_000, 13_000))  # 169 MP: decoding starts, and finds no pixels
    assert "truncated" in refused
    assert not recwarn.list


def test_size_in_bytes_is_bounded(monkeypatch: pytest.MonkeyPatch, photos: dict[str, Path]) -> None:
    data = photos["chelsea"].read_bytes()
    monkeypatch.setattr(module, "MAX_BYTES", len(data) - 1)
    assert "is over" in refusal(data)
    assert "is over" in refusal(base64.b64encode(data).decode())


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


class Handler(http.server.BaseHTTPRequestHandler):
    payload = b""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/cat.jpg")
            self.end_headers()
        elif self.path == "/file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        elif self.path in ("/cat.jpg", "/short"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.payload) + (9 if self.path == "/short" else 0)))
            self.end_headers()
            self.wfile.write(self.payload)
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(photos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Handler.payload = photos["chelsea"].read_bytes()
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def test_urls(server: str, photos: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_image(photos["chelsea"])
    assert same(load_image(f"{server}/cat.jpg"), expected)
    assert same(load_image(f"{server}/moved"), expected)
    assert "404" in refusal(f"{server}/dog.jpg")
    assert "302" in refusal(f"{server}/file")
    assert "early" in refusal(f"{server}/short")
    refusal("http://")
    refusal("http://127.0.0.1:1/x.png")
    refusal("https://[::1/x.png")
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    assert "is over" in refusal(f"{server}/cat.jpg")
    monkeypatch.setattr(module, "MAX_BYTES", 10**6)
    monkeypatch.setattr(module, "TIMEOUT_S", 0.0)
    refusal(f"{server}/cat.jpg")
