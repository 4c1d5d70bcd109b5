"""Strict JSON: what ``json`` lets pass is refused, and every reader names the place of what it cannot read."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal

import pytest

from clasp_trt.errors import DataError, PolicyError
from clasp_trt.storage.fields import Field, Format, parse

FORMAT = Format(syntax=DataError, field=PolicyError, cure="make it again")


def field(value: object) -> Field:
    return Field("a.json", "a", value, FORMAT)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", "blank"),
        (b"{", "not JSON"),
        (b"\xff", "byte 0 is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": [{"b": 1, "b": 1}]}', r"a\[0\]: the key 'b' occurs twice"),
        (b'{"\\u001b": 1, "\\u001b": 2}', r"the key '\\x1b' occurs twice"),
        (b'{"a": {"b": NaN}}', "a.b: expected a finite number, got NaN"),
        (b"[1, -Infinity]", r"\[1\]: expected a finite number, got -Infinity"),
        (b"[1e999]", "got Infinity"),
    ],
)
def test_what_is_not_strict_is_refused_as_syntax(text: bytes, line: str) -> None:
    with pytest.raises(DataError, match=line) as caught:
        parse(text, "a.json", FORMAT)
    assert str(caught.value).startswith("a.json: ")


def test_exact_numbers_are_exact() -> None:
    digits = "0.29999999999999998889776975374843459576368331909180"
    assert parse(digits.encode(), "", FORMAT, exact=True).decimal() == Decimal(digits)
    assert parse(b"0.29", "", FORMAT).decimal() == Decimal("0.29")


def test_a_number_that_no_decimal_holds_is_not_finite() -> None:
    with pytest.raises(DataError, match="finite"):
        parse(b"1e99999999999999999999", "a.json", FORMAT, exact=True)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda item: item.integer(1), 0),
        (lambda item: item.integer(1, 5), 6),
        (lambda item: item.integer(0), True),
        (lambda item: item.integer(0), 1.0),
        (lambda item: item.number(), True),
        (lambda item: item.number(), "1"),
        (lambda item: item.number(), 10**400),
        (lambda item: item.decimal(), None),
        (lambda item: item.text(), ""),
        (lambda item: item.text(), "a\nb"),
        (lambda item: item.one_of(("x",)), "y"),
        (lambda item: item.elements(), {}),
        (lambda item: item.members(), []),
        (lambda item: item.record("x"), {}),
        (lambda item: item.record("x"), {"x": 1, "y": 2}),
        (lambda item: item.open_record("x"), {"y": 2}),
    ],
)
def test_a_value_of_another_kind_names_its_place(read: Callable[[Field], object], value: object) -> None:
    with pytest.raises(PolicyError, match=r"^a\.json: a"):
        read(field(value))


def test_parts_know_their_place() -> None:
    top = field({"x": [1, "\x1b"], "two words": 2}).open_record("x")
    assert [part.place for part in top["x"].elements()] == ["a.x[0]", "a.x[1]"]
    assert top["two words"].place == "a['two words']"


def test_an_optional_key_may_be_left_out() -> None:
    assert {*field({"x": 1}).record("x", optional=("y",))} == {"x"}
    assert {*field({"x": 1, "y": 2}).record("x", optional=("y",))} == {"x", "y"}


def test_a_value_can_neither_flood_nor_steer_a_terminal() -> None:
    for value in ("\x1b[2J" * 1000, 10**400, {"\x1b": 1}, json.loads("1" * 4000)):
        with pytest.raises(PolicyError) as caught:
            field(value).elements()
        assert len(str(caught.value)) < 200
        assert str(caught.value).isprintable()
