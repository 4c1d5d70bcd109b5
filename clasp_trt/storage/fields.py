"""Strict JSON, and a cursor that reads it field by field and names the place of whatever breaks a rule."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import NoReturn

from clasp_trt.bundle.errors import ManifestField, ManifestSyntax

MAX_INTEGER = 2**63 - 1


def parse_strict(data: bytes, source: str) -> object:
    """The JSON value in ``data``; ``source`` names it in errors.

    Raises :class:`ManifestSyntax` for anything but UTF-8 JSON, and for what ``json`` lets pass: duplicate
    keys, ``NaN`` and ``Infinity``, and integers too long to read. Nesting too deep is a ``RecursionError``.
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        members: dict[str, object] = {}
        for key, value in pairs:
            if key in members:
                raise ManifestSyntax(f"{source}: the key {_brief(key)} occurs twice in one object; rebuild the bundle")
            members[key] = value
        return members

    def refuse(constant: str) -> NoReturn:
        raise ManifestSyntax(f"{source}: {constant} is not a JSON number; rebuild the bundle")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise ManifestSyntax(f"{source}: byte {error.start} is not UTF-8; rebuild or copy the bundle again") from None
    except ValueError as error:  # JSONDecodeError, and integers beyond Python's digit limit
        raise ManifestSyntax(f"{source}: not JSON ({error}); rebuild or copy the bundle again") from None


@dataclass(frozen=True)
class Field:
    """One JSON value and where it stands: ``source`` is the file, ``place`` a path such as
    ``graphs[2].path``."""

    source: str
    place: str
    value: object

    def fail(self, expected: str) -> NoReturn:
        place = f"{self.place}: " if self.place else ""
        raise ManifestField(f"{self.source}: {place}expected {expected}, got {_brief(self.value)}")

    def integer(self, minimum: int) -> int:
        # type(), because a bool is an int
        if type(self.value) is not int or not minimum <= self.value <= MAX_INTEGER:
            self.fail(f"an integer from {minimum} to 2**63 - 1")
        return self.value

    def text(self) -> str:
        if type(self.value) is not str or not self.value or not self.value.isprintable():
            self.fail("a non-empty printable string")
        return self.value

    def one_of(self, choices: Collection[str]) -> str:
        if type(self.value) is not str or self.value not in choices:
            self.fail("one of " + ", ".join(choices))
        return self.value

    def elements(self) -> list[Field]:
        if type(self.value) is not list:
            self.fail("an array")
        return [Field(self.source, f"{self.place}[{i}]", value) for i, value in enumerate(self.value)]

    def members(self) -> dict[str, Field]:
        """The members of an object whose keys are data."""
        if type(self.value) is not dict:
            self.fail("an object")
        return {key: Field(self.source, f"{self.place}[{_brief(key)}]", value) for key, value in self.value.items()}

    def record(self, *keys: str) -> dict[str, Field]:
        """The members of an object that has exactly ``keys``."""
        if type(self.value) is not dict:
            self.fail("an object")
        prefix = f"{self.place}." if self.place else ""
        for key in self.value:
            if key not in keys:
                raise ManifestField(
                    f"{self.source}: {prefix}{_brief(key)}: unknown key; expected one of {', '.join(keys)}"
                )
        for key in keys:
            if key not in self.value:
                raise ManifestField(f"{self.source}: {prefix}{key}: missing; rebuild the bundle")
        return {key: Field(self.source, prefix + key, self.value[key]) for key in keys}


def _brief(value: object) -> str:
    """``value`` in a few printable characters: a hostile manifest must not flood or steer a terminal."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str):
        return ascii(value if len(value) <= 60 else value[:57] + "...")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return "an integer beyond 64 bits"
    return repr(value)
