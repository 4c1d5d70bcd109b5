"""How long a thing becomes that Jinja makes of short ones: filters, methods of strings, formatting.

Each function says so before the call, from the arguments of the call; what it says is never less than what is made,
but for a constant factor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from clasp_trt.runtime.text.work import BoundExceeded, weight

_MEMBER = 16  # as a member of a list weighs
_MAX_PRECISION = 400  # digits before or after the point of a float
_MAX_WORKED = 20_000  # characters that regular expressions and line breaking go over
_WORD = 20  # characters of a word of the placeholder text, at most
_PERCENT = re.compile(r"%(?:\([^)]*\))?[-#0 +]*(\*|\d*)(?:\.(\*|\d*))?")
_SPEC = re.compile(r":[^{}]*")
_NESTED = re.compile(r":[^{}]*\{")
_DIGITS = re.compile(r"\d+")


def count(value: object) -> int:
    """How often something is repeated, or how wide it is made, by ``value``."""
    return max(0, value) if isinstance(value, int) else 0


def percent(text: str | bytes, values: object) -> int:
    """``text % values``."""
    shape = text.decode("latin-1") if isinstance(text, bytes) else text
    given = list(values.values()) if isinstance(values, Mapping) else values if isinstance(values, tuple) else (values,)
    found = _PERCENT.findall(shape)
    widest = _largest(given) if any("*" in sizes for sizes in found) else 0
    widths = sum(widest if size == "*" else int(size or 0) for sizes in found for size in sizes)
    return len(shape) + widths + len(found) * _longest(given)


def braces(text: str, values: Iterable[object]) -> int:
    """``text.format(*values)``."""
    given, fields = list(values), text.count("{")
    widths = sum(int(run) for spec in _SPEC.findall(text) for run in _DIGITS.findall(spec))
    nested = _largest(given) if _NESTED.search(text) else 0
    return len(text) + widths + fields * (_longest(given) + nested)


def _longest(values: Iterable[object]) -> int:
    return max(map(weight, values), default=0) + _MEMBER


def _largest(values: Iterable[object]) -> int:
    """The largest number among ``values`` and what they hold, as far as a format can reach into them."""
    largest = 0
    for value in values:
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
        largest = max(largest, count(value), _largest(inner))
    return largest


def _expanded(text: str, tabsize: int = 8) -> int:
    return len(text) + text.count("\t") * count(tabsize)


def _translated(text: str, table: Any) -> int:
    return len(text) * (_longest(table.values()) if isinstance(table, Mapping) else 1)


def _padded(text: str, width: int, *fill: str) -> int:
    return len(text) + count(width)


METHODS: Mapping[str, Callable[..., int]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _padded),
    "expandtabs": _expanded,
    "translate": _translated,
}
"""Of strings, which come first."""


def _indented(text: object, width: int | str = 4, *rest: object, **named: object) -> int:
    lines = len(str(text).splitlines()) + 1
    return weight(text) + lines * (1 + (len(width) if isinstance(width, str) else count(width)))


def _wrapped(
    s: str, width: int = 79, break_long_words: bool = True, wrapstring: str | None = None, *rest: object
) -> int:
    lines = len(s) // max(1, count(width)) + len(s.splitlines()) + s.count(" ") + 1
    return _worked(s) + lines * len(wrapstring or "\n")


def _worked(value: object, *rest: object, **named: object) -> int:
    """What takes longer than it is long."""
    if weight(value) > _MAX_WORKED:
        raise BoundExceeded(f"a value of over {_MAX_WORKED} characters to go over")
    return 3 * weight(value)


def _rounded(value: float, precision: int = 0, *rest: object, **named: object) -> int:
    if abs(precision) > _MAX_PRECISION:
        raise BoundExceeded(f"a precision of over {_MAX_PRECISION} digits")
    return 0


def _batched(value: object, linecount: int, fill_with: object = None) -> int:
    return _MEMBER * count(linecount) if fill_with is not None else 0


def _sliced(value: object, slices: int, fill_with: object = None) -> int:
    return _MEMBER * count(slices)


def _formatted(value: object, *args: Any, **kwargs: Any) -> int:
    return percent(str(value), kwargs or args)


def _wide(value: str, width: int = 80) -> int:
    return _padded(value, width)


FILTERS: Mapping[str, Callable[..., int]] = {
    "batch": _batched,
    "center": _wide,
    "format": _formatted,
    "indent": _indented,
    "round": _rounded,
    "slice": _sliced,
    "wordwrap": _wrapped,
    **dict.fromkeys(("pprint", "striptags", "urlencode", "urlize", "xmlattr"), _worked),
}


def lipsum(n: int = 5, html: bool = True, min: int = 20, max: int = 100) -> int:
    """The placeholder text."""
    return count(n) * count(max) * _WORD
