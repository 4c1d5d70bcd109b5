"""What error lines say about values: in JSON's words, short and printable."""

from __future__ import annotations

from decimal import Decimal

import pytest

from clasp_trt.brief import brief, clipped, reason, shown


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "null"),
        (True, "true"),
        ("it's\n", '"it\'s\\n"'),
        ("é" * 60, "'" + "\\xe9" * 60 + "'"),
        ("a" * 61, "'" + "a" * 57 + "...'"),
        (3, "3"),
        (2**64, "an integer beyond 64 bits"),
        (-0.5, "-0.5"),
        (Decimal("0.10"), "0.10"),
        (float("nan"), "NaN"),
        (Decimal("-Infinity"), "-Infinity"),
        ({"a": 1}, "an object"),
        ([], "an empty array"),
        ((1,), "an array"),
        (range(3), "range(0, 3)"),
    ],
)
def test_brief(value: object, said: str) -> None:
    assert brief(value) == said


def test_a_path_is_shown_whole_and_printable() -> None:
    assert shown("ü/\x1b[2J\udcff" + "a" * 300) == r"ü/\x1b[2J\udcff" + "a" * 300


def test_of_a_long_text_both_ends_are_shown() -> None:
    assert clipped("\x1b" + "a" * 199) == r"\x1b" + "a" * 199
    assert clipped("a" * 100 + "b" * 101) == "a" * 60 + "..." + "b" * 40 + " (201 characters)"


def test_a_reason_leaves_out_the_path() -> None:
    assert reason(FileNotFoundError(2, "No such file or directory", "/a/b")) == "no such file or directory"
    assert reason(ValueError("Embedded null byte")) == "embedded null byte"
