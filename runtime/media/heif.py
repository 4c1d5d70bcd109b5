"""HEIC, HEIF and AVIF: told by their first bytes, and read through pillow-heif where it is installed."""

from __future__ import annotations

from typing import IO

from PIL import Image

_FORMAT = "HEIF"
_HEIC = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"))
_AVIF = frozenset((b"avif", b"avis"))


def register_for(file: IO[bytes]) -> None:
    """If ``file`` is of this kind, has Pillow know its format from now on, if pillow-heif is there."""
    if _kind(file) is None or _FORMAT in Image.OPEN:
        return
    try:
        import pillow_heif  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return
    pillow_heif.register_heif_opener()


def missing(file: IO[bytes]) -> str | None:
    """What a file is that Pillow could not open for want of a library, and what to do; None for any other."""
    kind = _kind(file)
    if kind is None or (kind == "AVIF" and kind in Image.OPEN) or (kind == "HEIC" and _FORMAT in Image.OPEN):
        return None
    library = "pillow-heif" if kind == "HEIC" else "a Pillow that is built with AVIF (11.3 or later)"
    return f"a picture in {kind}, which needs {library}; install it, or convert the picture to JPEG"


def _kind(file: IO[bytes]) -> str | None:
    """``HEIC`` or ``AVIF`` by the brands of an ISO media file (ISO/IEC 23008-12), else None."""
    file.seek(0)
    head = file.read(64)
    file.seek(0)
    if head[4:8] != b"ftyp":
        return None
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(len(head), int.from_bytes(head[:4], "big")), 4))}
    return "AVIF" if brands & _AVIF else "HEIC" if brands & _HEIC else None
