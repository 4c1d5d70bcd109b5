"""Ways to damage bytes and JSON values, each drawn from a seeded generator."""

from __future__ import annotations

import copy
import random
from typing import Any

Place = tuple[str | int, ...]


def damaged(draw: random.Random, data: bytes, other: bytes) -> bytes:
    """``data`` flipped, cut, grown, blanked, or with a piece of ``other`` in it."""
    way = draw.choice(("flip", "flip", "flips", "cut", "grow", "blank", "splice", "other", "empty"))
    changed = bytearray(data)
    at = draw.randrange(len(data)) if data else 0
    size = min(len(data) - at, draw.choice((1, 4, 64, 4096)))
    if way == "flip" and data:
        changed[at] ^= 1 << draw.randrange(8)
    elif way == "flips" and data:
        for _ in range(draw.choice((2, 10, 100))):
            changed[draw.randrange(len(data))] = draw.randrange(256)
    elif way == "cut":
        del changed[at:]
    elif way == "grow":
        changed += draw.randbytes(draw.choice((1, 100, 10_000)))
    elif way == "blank":
        changed[at : at + size] = draw.choice((b"\0", b"\xff", b" ")) * size
    elif way == "splice" and other:
        start = draw.randrange(len(other))
        changed[at : at + size] = other[start : start + size]
    elif way == "other":
        changed = bytearray(other)
    elif way == "empty":
        changed = bytearray()
    return bytes(changed)


def places(value: Any, place: Place = ()) -> list[Place]:
    """Every place in a JSON value, but for itself."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [deeper for key, child in inner for deeper in places(child, (*place, key))]
    return [place, *found] if place else found


def at(value: Any, place: Place) -> Any:
    """What stands at a place."""
    for step in place:
        value = value[step]
    return value


def mutated(draw: random.Random, content: Any) -> Any:
    """A JSON value with one to three places changed, removed, swapped, repeated or given another's value."""
    content = copy.deepcopy(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        every = places(content)
        if not every:
            break
        _mutate(draw, content, draw.choice(every), draw.choice(every))
    return content


def _mutate(draw: random.Random, content: Any, place: Place, origin: Place) -> None:
    holder, key = at(content, place[:-1]), place[-1]
    way = draw.choice(("value", "value", "number", "number", "remove", "copy", "swap", "repeat"))
    if way == "value":
        holder[key] = _value(draw, holder[key])
    elif way == "number":
        old = holder[key]
        holder[key] = _number(draw, old) if type(old) in (int, float) else _value(draw, old)
    elif way == "remove":
        del holder[key]
    elif way == "copy":
        holder[key] = copy.deepcopy(at(content, origin))
    elif way == "swap" and place[: len(origin)] != origin and origin[: len(place)] != place:
        other = at(content, origin[:-1])
        holder[key], other[origin[-1]] = other[origin[-1]], holder[key]
    elif way == "repeat" and isinstance(holder, list):
        holder.insert(draw.randrange(len(holder) + 1), copy.deepcopy(holder[key]))


def _number(draw: random.Random, old: float) -> Any:
    return draw.choice(
        (
            *(old + 1, old - 1, old * 2, -old, 0, 1, -1, old // 2, old * 1000, 10**9, 2**31, 2**32, 2**63 - 1, 2**63),
            *(10**30, 10**400, 0.5, 1e308, True),
        )
    )


def _value(draw: random.Random, old: Any) -> Any:
    return draw.choice(
        (
            *(None, True, 0, 1, -1, 1.5, "", "x", "a" * 10_000, "\ud800", "a\0b", "\x1b[31m", "../x", [], {}, [[]]),
            *([old], {"x": old}, str(old), [old, old]),
        )
    )
