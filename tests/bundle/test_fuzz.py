"""No bytes at all bring anything but a named error."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clasp_trt import bundle as b
from clasp_trt.bundle import codec
from clasp_trt.errors import ClaspError
from tests.bundle.sample import INTEGER_PLACES, POLICY_TEXT, VALID, Place, altered

FUZZ = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
TEXT = json.dumps(VALID).encode()


def survives(data: bytes) -> None:
    """Reading ``data`` gives a manifest that reads back to itself, or one printable line."""
    line = "read"
    try:
        manifest = codec.loads(data, "clasp.json")
        assert codec.loads(codec.dumps(manifest).encode(), "clasp.json") == manifest
    except ClaspError as error:
        line = str(error)
    assert line.isprintable()


@FUZZ
@given(st.binary())
def test_fuzz_bytes(data: bytes) -> None:
    survives(data)


@FUZZ
@given(st.lists(st.tuples(st.integers(0, len(TEXT) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(TEXT)))
def test_fuzz_flipped_bytes_and_truncation(flips: list[tuple[int, int]], length: int) -> None:
    data = bytearray(TEXT)
    for at, value in flips:
        data[at] = value
    survives(bytes(data))
    survives(bytes(data[:length]))


def _places(value: Any, place: Place = ()) -> list[Place]:
    """Every place in a JSON value, itself included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(deeper for key, child in inner for deeper in _places(child, (*place, key)))]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(), max_size=8),  # lone surrogates too
    st.sampled_from(["", "..", "/", "policy.json", "clasp.json", "segment_0", "none", "encoder", "decoder", "bool"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PLACES = st.sampled_from([place for place in _places(VALID) if place])
MUTATIONS = st.lists(st.tuples(PLACES, st.sampled_from(["replace", "delete", "copy"]), VALUES, PLACES), max_size=4)


def _mutate(content: Any, place: Place, how: str, value: Any, origin: Place) -> None:
    """One mutation in place; places that an earlier one removed are left alone."""
    try:
        if how == "copy":
            value = content
            for step in origin:
                value = value[step]
            value = copy.deepcopy(value)
        for step in place[:-1]:
            content = content[step]
        if how == "delete":
            del content[place[-1]]
        else:
            content[place[-1]] = value
    except (KeyError, IndexError, TypeError):
        pass


@FUZZ
@given(MUTATIONS)
def test_fuzz_structure(mutations: list[tuple[Place, str, Any, Place]]) -> None:
    content = copy.deepcopy(VALID)
    for mutation in mutations:
        _mutate(content, *mutation)
    survives(json.dumps(content).encode())


@FUZZ
@given(st.sampled_from(INTEGER_PLACES), st.integers(-3, 70))
def test_fuzz_integers(place: Place, value: int) -> None:
    survives(json.dumps(altered(place, value)).encode())


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["clasp.json", "policy.json"]), data=st.binary(max_size=64), at=st.integers(0, 2000))
def test_fuzz_a_bundle_on_disk(root: Path, name: str, data: bytes, at: int) -> None:
    original = {"clasp.json": TEXT, "policy.json": POLICY_TEXT.encode()}[name]
    (root / name).write_bytes(original[:at] + data + original[at + len(data) :])
    line = "opened"
    try:
        b.Bundle.open(root, verify=True)
    except ClaspError as error:
        line = str(error)
    (root / name).write_bytes(original)
    assert line.isprintable()
