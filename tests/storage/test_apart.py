"""What is written stays away from what is read, by whatever name the one leads to the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clasp_trt.errors import OutputError
from clasp_trt.storage.apart import keep_apart
from tests.mistakes import says


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder that is read, with a file in it."""
    folder = tmp_path / "outer" / "source"
    folder.mkdir(parents=True)
    (folder / "file").write_text("input")
    return folder


def _link(source: Path, to: Path) -> Path:
    link = source.parents[1] / "link"
    link.symlink_to(to)
    return link


OUTPUTS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "itself": ("is", lambda source: source),
    "itself, spelled otherwise": ("is", lambda source: source / ".." / "source" / "."),
    "a link to it": ("is", lambda source: _link(source, source)),
    "a file of its": ("lies in", lambda source: source / "file"),
    "a place in it": ("lies in", lambda source: source / "new" / "out"),
    "a place in it by a link": ("lies in", lambda source: _link(source, source) / "out"),
    "what holds it": ("holds", lambda source: source.parent),
    "a link to what holds it": ("holds", lambda source: _link(source, source.parent)),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_an_output_that_would_touch_an_input(source: Path, kind: str) -> None:
    relation, at = OUTPUTS[kind]
    output = at(source)
    with pytest.raises(OutputError) as error:
        keep_apart(output, None, source)
    says(error, output, f"{relation} {source}")


def test_a_hard_link_is_the_same_file(source: Path) -> None:
    os.link(source / "file", source.parent / "twin")
    with pytest.raises(OutputError):
        keep_apart(source.parent / "twin", source / "file")


def test_an_input_that_is_reached_by_a_link(source: Path) -> None:
    with pytest.raises(OutputError):
        keep_apart(source, _link(source, source / "file"))


@pytest.mark.parametrize("given", ["llava-hf/llava-1.5-7b-hf", "a" * 100_000, "a\0b", None])
def test_what_is_no_path_here_is_passed_over(tmp_path: Path, given: str | None) -> None:
    keep_apart(tmp_path / "out", given)


def test_neighbours_are_apart(source: Path) -> None:
    keep_apart(source.parent / "source-2", source)
    keep_apart(source.parent / "out", source, source / "file")
    keep_apart("a\0b", source)
