"""What is installed is what was tested: all of it is pinned, and no bound admits a version with a known hole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata

import pytest
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.house import PYPROJECT, ROOT

PROJECT = PYPROJECT["project"]
NOT_OURS = "tensorrt"
"""The extra whose versions are the device's own to choose."""
EXTRAS = sorted(set(PROJECT["optional-dependencies"]) - {NOT_OURS})
SPLIT = ('python_version >= "3.11"', 'python_version < "3.11"')

MENDED = {
    "jinja2": ("3.1.6", "CVE-2025-27516: a template leaves the sandbox"),
    "onnx": ("1.21.0", "CVE-2026-27489, CVE-2026-34445: a graph reads outside its folder, or crashes"),
    "pillow": ("12.3.0", "PYSEC-2026-2253 and others: pictures write out of bounds"),
    "pytest": ("9.0.3", "CVE-2025-71176: folders of temporary files"),
    "setuptools": ("78.1.1", "CVE-2025-47273: a package is written anywhere"),
    "torch": ("2.10.0", "CVE-2026-24747: a checkpoint corrupts memory"),
    "transformers": ("5.0.0", "CVE-2026-1839: a checkpoint runs code"),
}
"""The first version of each direct dependency without the holes that are known of it, and which these are."""
MENDED_IN_TURN = {
    "filelock": "3.20.3",
    "fonttools": "4.60.2",
    "h11": "0.16.0",
    "protobuf": "6.33.5",
    "virtualenv": "20.36.1",
}
"""The same of what others bring, which constraints alone decide."""


def pins() -> dict[str, list[tuple[str, str | None]]]:
    """Version and marker of every line of the constraints, by the canonical name."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and line[0] != "#":
            match = re.fullmatch(r"([\w.-]+)==([\w.]+)(?:; (.+))?", line)
            assert match is not None, line
            found.setdefault(canonicalize_name(match[1]), []).append((match[2], match[3]))
    return found


def asked() -> list[Requirement]:
    """What the project asks for itself."""
    lines = [*PROJECT["dependencies"], *PYPROJECT["build-system"]["requires"]]
    lines += [line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra]]
    return [Requirement(line) for line in lines]


def reached() -> Iterator[metadata.Distribution]:
    """Every installed distribution that the project brings, with any of its extras."""
    pending, seen = [(each, frozenset(each.extras)) for each in asked()], set()
    while pending:
        requirement, extras = pending.pop()
        key = (canonicalize_name(requirement.name), extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            distribution = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            continue  # of an extra that is not installed, or of another platform
        yield distribution
        for line in distribution.requires or ():
            further = Requirement(line)
            environments = [{**default_environment(), "extra": extra} for extra in (*extras, "")]
            if further.marker is None or any(further.marker.evaluate(each) for each in environments):
                pending.append((further, frozenset(further.extras)))


def test_each_is_pinned_once_for_each_python() -> None:
    """torch for all, since a range would admit a CUDA build; torchvision not at all."""
    found = pins()
    assert [marker for _, marker in found["torch"]] == [None]
    assert "torchvision" not in found
    for name, lines in found.items():
        markers = tuple(marker for _, marker in lines)
        assert markers in ((None,), SPLIT, SPLIT[:1], SPLIT[1:]), name
    assert {canonicalize_name(each.name) for each in asked()} <= set(found)


def test_whatever_is_installed_is_what_is_pinned() -> None:
    """All that the extras bring in turn too: otherwise a run of CI cannot be had again."""
    found = pins()
    names, other = set(), {}
    for distribution in reached():
        name, version = canonicalize_name(distribution.name), Version(distribution.version).public
        names.add(name)
        pinned = [line for line, marker in found.get(name, []) if marker is None or Marker(marker).evaluate()]
        if pinned != [version]:
            other[name] = (version, pinned)
    assert other == {}, "installed and pinned"
    assert {"numpy", "markupsafe", "pluggy"} <= names


def test_pins_are_within_bounds() -> None:
    found = pins()
    wrong = [
        f"{each}: {version}"
        for each in asked()
        for version, _ in found[canonicalize_name(each.name)]
        if not each.specifier.contains(version)
    ]
    assert wrong == []


def test_pins_are_named_in_order_and_once() -> None:
    text = (ROOT / "constraints.txt").read_text()
    names = re.findall(r"^([\w.-]+)==", text.split("# what all of these need in turn\n")[1], re.MULTILINE)
    assert names == sorted(names)


@pytest.mark.parametrize("name", MENDED)
def test_no_bound_admits_a_known_hole(name: str) -> None:
    mended, hole = MENDED[name]
    bounds = [each for each in asked() if canonicalize_name(each.name) == name]
    assert bounds
    for each in bounds:
        least = [Version(bound.version) for bound in each.specifier if bound.operator in (">=", "==")]
        assert max(least) >= Version(mended), hole


@pytest.mark.parametrize("name", [*MENDED, *MENDED_IN_TURN])
def test_no_pin_has_a_known_hole(name: str) -> None:
    mended = MENDED[name][0] if name in MENDED else MENDED_IN_TURN[name]
    for version, _ in pins()[name]:
        assert Version(version) >= Version(mended)


def test_the_walk_finds_what_a_distribution_brings() -> None:
    """A walk that found nothing would pass every test above."""
    assert len({canonicalize_name(each.name) for each in reached()}) > 50
