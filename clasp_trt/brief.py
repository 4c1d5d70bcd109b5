"""Values, paths and reasons in the few printable characters that an error line has room for.

A hostile file must neither flood nor steer the terminal on which its error is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

_MOST = 60


def brief(value: object) -> str:
    """``value`` in JSON's own words and in ASCII: 60 characters of a text, of an object only that it is one."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "an array" if value else "an empty array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return ascii(value if len(value) <= _MOST else f"{value[: _MOST - 3]}...")
    if isinstance(value, int) and value.bit_length() > 64:
        return "an integer beyond 64 bits"
    if isinstance(value, (float, Decimal)) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = str(value) if isinstance(value, (float, Decimal)) else ascii(value)
    return text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."


def shown(path: Path | str) -> str:
    """All of ``path``, printable whatever bytes the file system holds."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in str(path))


def clipped(text: str) -> str:
    """A path, URL or base64 text as :func:`shown`; of more than 200 characters both ends, and how many there are."""
    return shown(text) if len(text) <= 200 else f"{shown(text[:60])}...{shown(text[-40:])} ({len(text)} characters)"


def reason(error: OSError | ValueError) -> str:
    """What the operating system said, without the path that the line already names."""
    return (getattr(error, "strerror", None) or str(error)).lower()
