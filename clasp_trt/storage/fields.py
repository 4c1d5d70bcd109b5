"""Strict JSON: a cursor that reads a value field by field, and names the place of whatever breaks a rule."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import NoReturn

from clasp_trt.brief import brief
from clasp_trt.errors import ClaspError

MAX_INTEGER = 2**63 - 1
MAX_TEXT = 4096


@dataclass(frozen=True)
class Format:
    """What the mistakes in files of one kind are: ``syntax`` for a text that is not strict JSON, ``field`` for a value
    out of its rules. ``cure`` says what to do about a file that is damaged or incomplete."""

    syntax: type[ClaspError]
    field: type[ClaspError]
    cure: str


@dataclass(frozen=True)
class Field:
    """One JSON value and where it stands: ``source`` is the file, ``place`` a path such as ``graphs[2].path``; either
    may be empty. Every method raises ``format.field`` for a value that is not what it reads."""

    source: str
    place: str
    value: object
    format: Format

    def fail(self, expected: str) -> NoReturn:
        raise self.format.field(f"{self._where}expected {expected}, got {brief(self.value)}")

    def at(self, place: str, value: object) -> Field:
        """Another value of the same file."""
        return Field(self.source, place, value, self.format)

    def integer(self, minimum: int, maximum: int = MAX_INTEGER) -> int:
        # type(), because a bool is an int
        if type(self.value) is not int or not minimum <= self.value <= maximum:
            self.fail(f"a whole number from {minimum} to {'2**63 - 1' if maximum == MAX_INTEGER else maximum}")
        return self.value

    def number(self) -> float:
        """A finite double; an integer beyond the range of doubles is none."""
        number = math.nan
        if type(self.value) in (int, float) or isinstance(self.value, Decimal):
            with suppress(OverflowError):
                number = float(self.value)  # type: ignore[arg-type]  # checked one line up
        if not math.isfinite(number):
            self.fail("a finite number")
        return number

    def decimal(self) -> Decimal:
        """The number exactly as it is written; a float is taken for its shortest repr."""
        self.number()
        return self.value if isinstance(self.value, Decimal) else Decimal(repr(self.value))

    def text(self, most: int = MAX_TEXT) -> str:
        """A string that an error line can hold."""
        if type(self.value) is not str or not self.value or not self.value.isprintable() or len(self.value) > most:
            self.fail(f"a non-empty printable string of at most {most} characters")
        return self.value

    def string(self) -> str:
        """Any string."""
        if type(self.value) is not str:
            self.fail("a string")
        return self.value

    def prose(self) -> str:
        """A string of whole characters that says something; it may have several lines."""
        if type(self.value) is not str or not self.value.strip():
            self.fail("a string that is not empty")
        try:
            self.value.encode()
        except UnicodeEncodeError:  # JSON can spell half of a character, which no text has
            self.fail("a string without lone surrogates")
        return self.value

    def said(self) -> str:
        """A text as :meth:`prose`, or a number or boolean in the words of JSON; of a file that was read exactly, with
        the digits that were written."""
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if type(self.value) in (int, float) or isinstance(self.value, Decimal):
            self.number()
            return f"{self.value:f}" if isinstance(self.value, Decimal) else str(self.value)
        return self.prose()

    def one_of(self, choices: Collection[str]) -> str:
        if type(self.value) is not str or self.value not in choices:
            self.fail("one of " + ", ".join(choices))
        return self.value

    def elements(self) -> list[Field]:
        if type(self.value) is not list:
            self.fail("an array")
        return [self.at(f"{self.place}[{i}]", value) for i, value in enumerate(self.value)]

    def members(self) -> dict[str, Field]:
        """The members of an object whose keys are data."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        return {key: self.at(f"{self.place}[{brief(key)}]", value) for key, value in self.value.items()}

    def record(self, *keys: str, optional: Collection[str] = ()) -> dict[str, Field]:
        """The members of an object that has ``keys``, perhaps some of ``optional``, and no others."""
        for key in self.value if isinstance(self.value, dict) else ():
            if key not in keys and key not in optional:
                known = ", ".join((*keys, *optional))
                raise self.format.field(f"{self._where}unknown key {brief(key)}; expected one of {known}")
        return self.open_record(*keys)

    def open_record(self, *keys: str) -> dict[str, Field]:
        """The members of an object that has ``keys``, and others too."""
        if not isinstance(self.value, dict):
            self.fail(f"an object with {', '.join(keys)}" if keys else "an object")
        for key in keys:
            if key not in self.value:
                raise self.format.field(f"{self._where}missing key {key!r}; {self.format.cure}")
        prefix = f"{self.place}." if self.place else ""
        return {
            key: self.at(prefix + key if key.isidentifier() else f"{self.place}[{brief(key)}]", value)
            for key, value in self.value.items()
        }

    def check_schema(self, known: int) -> None:
        """To be asked first: an object of another ``schema`` may know other keys, and is no broken one."""
        if isinstance(self.value, dict) and "schema" in self.value:
            schema = self.value["schema"]
            if type(schema) is not int or schema != known:
                self.at("schema", schema).fail(f"{known}, the one this version reads")

    @property
    def _where(self) -> str:
        return "".join(f"{part}: " for part in (self.source, self.place) if part)


def parse(data: bytes, source: str, format: Format, *, exact: bool = False) -> Field:
    """The JSON value in ``data``, of a file that errors call ``source``; ``exact`` reads fractions as ``Decimal``.

    Raises ``format.syntax`` for anything but UTF-8 JSON, and for what ``json`` lets pass: a key that an object has
    twice, ``NaN`` and ``Infinity``, numbers too long to read, nesting too deep.
    """

    def fail(what: str) -> NoReturn:
        raise format.syntax(f"{source}: {what}; {format.cure}") from None

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_float=_decimal if exact else float)
        root = Field(source, "", value, format)
        _refuse(root)
    except UnicodeDecodeError as error:
        fail(f"byte {error.start} is not UTF-8")
    except RecursionError:
        fail("nested too deeply")
    except ValueError as error:  # JSONDecodeError, and integers beyond Python's digit limit
        fail(f"not JSON ({error})" if data.strip() else "not JSON (it is blank)")
    return root


def load(
    path: str | os.PathLike[str], format: Format, *, source: str = "", limit: int | None = None, exact: bool = False
) -> Field:
    """:func:`parse` of a file, which errors call ``source`` or by its path.

    Raises ``format.syntax`` also if it cannot be read, or has more than ``limit`` bytes.
    """
    name = source or os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read(-1 if limit is None else limit + 1)
    except OSError as error:
        raise format.syntax(
            f"{os.fspath(path)}: cannot be read ({error.strerror or type(error).__name__}); {format.cure}"
        ) from None
    if limit is not None and len(data) > limit:
        raise format.syntax(f"{name}: larger than {limit >> 20} MiB; {format.cure}")
    return parse(data, name, format, exact=exact)


class _Twice(dict[str, object]):
    """A JSON object in which ``key`` occurred more than once; it lives until its place can be named."""

    key: str


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    found = _Twice(members)
    found.key = Counter(key for key, _ in pairs).most_common(1)[0][0]
    return found


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond even Decimal's range
        return Decimal("Infinity")


def _refuse(item: Field) -> None:
    """What ``json`` lets pass."""
    value, format = item.value, item.format
    parts: Iterable[Field] = ()
    if isinstance(value, _Twice):
        raise format.syntax(f"{item._where}the key {brief(value.key)} occurs twice; {format.cure}")
    if isinstance(value, dict):
        parts = item.open_record().values()
    elif isinstance(value, list):
        parts = item.elements()
    elif isinstance(value, (float, Decimal)) and not math.isfinite(value):
        raise format.syntax(f"{item._where}expected a finite number, got {brief(value)}")
    for part in parts:
        _refuse(part)
