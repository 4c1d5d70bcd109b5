"""Removing what a build left, whatever a stranger put into it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clasp_trt.storage.leftovers import BUILDING, REPLACED, discard, restore, sibling, sweep

DEEP = 3000
"""Folders in one another: beyond what Python's stack holds, and beyond the longest path of Linux."""


def nest(folder: Path, depth: int) -> None:
    """``depth`` folders in one another below ``folder``, with a file in every hundredth."""
    at = os.open(folder, os.O_RDONLY)
    for level in range(depth):
        os.mkdir("in", dir_fd=at)
        deeper = os.open("in", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = deeper
        if level % 100 == 0:
            os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=at))
    os.close(at)


def test_folders_however_deep(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    nest(folder, DEEP)
    discard(folder)
    assert not folder.exists()


def test_folders_side_by_side(tmp_path: Path) -> None:
    for name in ("a/b/c", "a/b/d", "a/e", "f"):
        (tmp_path / "folder" / name).mkdir(parents=True)
        (tmp_path / "folder" / name / "file").touch()
    discard(tmp_path / "folder")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_folders_without_permissions(tmp_path: Path, mode: int) -> None:
    inner = tmp_path / "folder" / "locked" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    for each in (inner, inner.parent, inner.parents[1]):
        each.chmod(mode)
    discard(tmp_path / "folder")
    assert os.listdir(tmp_path) == []


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "folder" / "in").mkdir(parents=True)
    for place in ("folder/link", "folder/in/link"):
        (tmp_path / place).symlink_to(tmp_path / "kept")
    discard(tmp_path / "folder")
    assert os.listdir(tmp_path) == ["kept"]
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    discard(tmp_path / "link")
    assert os.listdir(tmp_path / "kept") == ["file"]


def test_what_is_not_there_is_removed_already(tmp_path: Path) -> None:
    discard(tmp_path / "folder")


def test_an_older_folder_is_put_back_where_its_place_is_empty(tmp_path: Path) -> None:
    """As a replacement leaves it that was killed between its two renames."""
    place = tmp_path / "out"
    aside = sibling(place, REPLACED)
    aside.mkdir()
    (aside / "file").touch()
    restore(place)
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(place) == ["file"]


def test_what_is_left_beside_a_whole_folder_is_swept(tmp_path: Path) -> None:
    place = tmp_path / "out"
    for folder in (place, sibling(place, REPLACED), sibling(place, BUILDING)):
        folder.mkdir()
        (folder / "file").write_text(folder.name)
    sweep(place)
    assert os.listdir(tmp_path) == ["out"]
    assert (place / "file").read_text() == "out"
