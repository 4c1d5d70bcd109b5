"""Pixels of intact pictures whatever else is in the file, and bounds that hold before memory is taken."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clasp_trt.errors import ImageError, ShortageError
from clasp_trt.runtime.media import decoding
from clasp_trt.runtime.media.decoding import MOST_PIXELS, decode
from clasp_trt.runtime.media.image import MAX_PIXELS, load_image
from tests.house import ROOT
from tests.mistakes import says
from tests.started import own_environment

SIZE = (80, 60)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def refusal(data: bytes, **options: int) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(data, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pixels(data: bytes | Image.Image) -> NDArray[np.uint8]:
    return np.asarray(load_image(data))


@pytest.fixture(scope="module")
def picture(photos: dict[str, Path]) -> Image.Image:
    return Image.open(photos["chelsea"]).convert("RGB").resize(SIZE)


# Metadata that is broken around pixels that are not

BLOCKS = {
    "junk": b"XXXX\0\0\0\x08junk",
    "empty": b"Exif\0\0",
    "cut short": b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12",
    "a directory beyond the end": b"Exif\0\0MM\0*\xff\xff\xff\xff",
    "an orientation in words": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02x\0\0\0\0\0\0\0",
    "an orientation of 77": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x4d\0\0\0\0\0\0",
}


def _png(image: Image.Image, block: bytes) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    plain = buffer.getvalue()
    return plain[:33] + chunk(b"eXIf", block.removeprefix(b"Exif\0\0")) + plain[33:]


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


CARRIERS: dict[str, Callable[[Image.Image, bytes], bytes]] = {
    "PNG": _png,
    "WEBP": lambda image, block: _saved(image, "WEBP", lossless=True, exif=block),
    "JPEG": lambda image, block: _saved(image, "JPEG", exif=block),
}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("format", CARRIERS)
def test_a_broken_exif_block_is_ignored(picture: Image.Image, format: str, block: str) -> None:
    data = CARRIERS[format](picture, BLOCKS[block])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = Image.open(io.BytesIO(data)).convert("RGB")
    np.testing.assert_array_equal(pixels(data), np.asarray(plain))


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("group", [34665, 34853])
def test_a_broken_group_of_a_tiff_is_ignored(
    picture: Image.Image, compression: str | None, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow reads all groups before it gives the pixels; not every version of it survives what it finds there."""

    def fails(exif: Image.Exif, tag: int) -> dict[int, object]:
        raise struct.error(tag)

    monkeypatch.setattr(Image.Exif, "get_ifd", fails)
    data = _saved(picture, "TIFF", compression=compression, tiffinfo={274: 3, group: 9999999})
    np.testing.assert_array_equal(pixels(data), np.asarray(picture.transpose(Image.Transpose.ROTATE_180)))


def test_an_orientation_holds_beside_tags_that_cannot_be_written_again(picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()
    turned = CARRIERS["PNG"](picture, block + b"\xff" * 9)
    np.testing.assert_array_equal(pixels(turned), np.asarray(picture.transpose(Image.Transpose.ROTATE_270)))


# Samples of more than 8 bits

RAMP = np.linspace(0, 1, SIZE[0] * SIZE[1]).reshape(SIZE[::-1])
GREY = np.rint(RAMP * 255)
DEEP: dict[str, NDArray[np.generic]] = {
    "16 bits": (RAMP * 65535).astype(np.uint16),
    "12 bits of 16": (RAMP * 4095).astype(np.uint16),
    "a narrow range of 16 bits": (40000 + RAMP * 2000).astype(np.uint16),
    "32 bits": (RAMP * (2**31 - 1)).astype(np.int32),
    "signed": (RAMP * 20000 - 10000).astype(np.int32),
    "floats to 1": RAMP.astype(np.float32),
    "floats to 1e30": (RAMP * 1e30).astype(np.float32),
    "floats of any sign": (RAMP * 8 - 4).astype(np.float32),
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_samples_are_scaled_by_their_own_range(kind: str) -> None:
    image = Image.fromarray(DEEP[kind])
    for given in (image, _saved(image, "TIFF")):
        found = pixels(given)
        assert (found == found[..., :1]).all()
        np.testing.assert_allclose(found[..., 0], GREY, atol=1)


def test_a_png_of_16_bits_and_its_byte_orders() -> None:
    image = Image.fromarray(DEEP["16 bits"])
    swapped = Image.frombytes("I;16B", SIZE, DEEP["16 bits"].astype(">u2").tobytes())
    for given in (_saved(image, "PNG"), swapped, _saved(image, "JPEG2000")):
        np.testing.assert_allclose(pixels(given)[..., 0], GREY, atol=1)


def test_deep_samples_of_one_value_are_grey() -> None:
    for value in (np.uint16(65535), np.int32(0), np.float32(0.5)):
        assert (pixels(Image.fromarray(np.full(SIZE, value))) == 128).all()


def test_floats_that_are_no_numbers() -> None:
    samples = RAMP.astype(np.float32)
    samples[0, :3] = np.nan, np.inf, -np.inf
    found = pixels(Image.fromarray(samples))[..., 0]
    assert found[0, :3].tolist() == [0, 255, 0]
    np.testing.assert_allclose(found[1:], GREY[1:], atol=1)
    says(refusal(_saved(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF")), "number")


def test_a_deep_picture_is_turned_too() -> None:
    image = Image.fromarray(DEEP["16 bits"])
    data = _png(image, b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0")
    np.testing.assert_allclose(pixels(data)[..., 0], GREY[::-1, ::-1], atol=1)


def test_a_mode_that_cannot_become_rgb_is_not_damaged() -> None:
    with pytest.raises(ImageError) as caught:
        load_image(Image.new("La", SIZE))
    says(caught, "La")
    assert "damaged" not in str(caught.value)


# Bounds


@pytest.mark.parametrize("size", [(20_000, 20_000), (15_000, 12_000), (13_350, 13_350)])
def test_bombs_are_refused_from_the_header(size: tuple[int, int]) -> None:
    says(refusal(png_header(*size), max_pixels=MOST_PIXELS), 178)


def test_the_bound_can_be_raised(recwarn: pytest.WarningsRecorder) -> None:
    says(refusal(png_header(13_000, 13_000)), "13000x13000", 50, "max_pixels", MOST_PIXELS)
    assert "truncated" in refusal(png_header(13_000, 13_000), max_pixels=MOST_PIXELS)  # decoding starts
    assert not recwarn.list


@pytest.mark.parametrize(("most", "size"), [(4800, (80, 60)), (4799, (40, 30)), (1200, (40, 30)), (75, (10, 8))])
def test_a_jpeg_over_the_bound_is_decoded_smaller(picture: Image.Image, most: int, size: tuple[int, int]) -> None:
    data = _saved(picture, "JPEG", quality=95)
    most += 5 if size == (10, 8) else 0  # sides are rounded up
    small = load_image(data, max_pixels=most)
    assert small.size == size
    difference = np.abs(np.asarray(small.resize((10, 8))).astype(int) - np.asarray(picture.resize((10, 8))))
    assert difference.mean() < 12
    says(refusal(data, max_pixels=60), "80x60")


def test_a_progressive_jpeg_over_the_bound_is_refused(picture: Image.Image) -> None:
    says(refusal(_saved(picture, "JPEG", progressive=True), max_pixels=4799), "80x60")


@pytest.mark.parametrize("inside", [png_header(8000, 8000), struct.pack("<III", 40, 8000, 16000) + bytes(28)])
def test_an_icon_is_as_large_as_what_it_holds(inside: bytes) -> None:
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inside), 22) + inside
    says(refusal(icon), "8000x8000")


def test_a_tile_is_part_of_the_picture() -> None:
    tags = {256: 80, 257: 60, 258: 8, 259: 5, 262: 1, 277: 1, 322: 16384, 323: 16384, 324: 8, 325: 4}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<I", 12) + bytes(4) + struct.pack("<H", len(tags)) + entries + bytes(4)
    says(refusal(data), "16384x16384")


MEASURE = """
import resource, sys
from clasp_trt.runtime.media.image import load_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(load_image(sys.argv[1]).size, end=" ")
except Exception as error:
    print(type(error).__name__, error, end=" ")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def measured(path: Path, *, limit_mb: int | None = None) -> tuple[str, int]:
    """What loading a file says in a process of its own, and by how many MB it grows."""
    lines = MEASURE
    if limit_mb is not None:
        lines = lines.replace("before =", "size = int(open('/proc/self/statm').read().split()[0]) * 4096\nbefore =")
        lines = lines.replace("try:", f"resource.setrlimit(resource.RLIMIT_AS, (size + ({limit_mb} << 20),) * 2)\ntry:")
    environment = own_environment(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    done = subprocess.run(
        [sys.executable, "-c", lines, str(path)], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stderr
    said, _, grown = done.stdout.strip().rpartition(" ")
    return said, int(grown)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG of 64 megapixels, over the bound."""
    path = tmp_path_factory.mktemp("large") / "a.jpg"
    Image.new("L", (8000, 8000), 77).save(path)
    return path


def test_memory_is_bounded(large: Path) -> None:
    """A quarter of the pixels, four bytes each, twice: 128 MB, where all of them are 512 MB."""
    said, grown = measured(large)
    assert said == "(4000, 4000)"
    assert grown < 300


def test_too_little_memory_is_no_damage(large: Path) -> None:
    said, _ = measured(large, limit_mb=60)
    says(said, "ShortageError", "4000x4000", "0.13 GB")
    assert "damaged" not in said


def test_what_a_decoder_calls_damage_for_want_of_memory_is_none(
    picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoders of C have one word for both; whether there is the memory can be asked."""
    cut = _saved(picture, "JPEG")[:-200]
    assert "truncated" in refusal(cut)
    monkeypatch.setattr(decoding, "_available", lambda size: False)
    with pytest.raises(ShortageError) as caught:
        load_image(cut)
    says(caught, "80x60")


def test_the_default_is_a_photo_of_50_megapixels() -> None:
    assert MAX_PIXELS == 50_000_000


# HEIC and AVIF


def test_heic_is_named_where_it_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    for brand in (b"heic", b"heix", b"mif1"):
        head = struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1heic"
        says(refusal(head + bytes(99)), "HEIC", "pillow-heif")
    assert "pillow-heif" not in refusal(struct.pack(">I", 24) + b"ftypisom" + bytes(99))


def test_avif_is_named_where_it_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    says(refusal(struct.pack(">I", 24) + b"ftypavif" + bytes(4) + b"mif1miaf" + bytes(99)), "AVIF", "Pillow")


def test_heic_is_read_through_pillow_heif(picture: Image.Image) -> None:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(picture).save(buffer, quality=-1)
    assert np.abs(pixels(buffer.getvalue()).astype(int) - np.asarray(picture)).mean() < 4


def test_decode_leaves_the_callers_file_open(picture: Image.Image) -> None:
    for format in ("TIFF", "PNG", "GIF", "WEBP"):
        file = io.BytesIO(_saved(picture, format))
        decode(file, "it", MAX_PIXELS)
        assert not file.closed
