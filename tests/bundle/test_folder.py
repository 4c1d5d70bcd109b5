"""A bundle whose folder is wrong: every malformation has its name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clasp_trt import bundle as b
from tests.bundle.sample import ENGINE, INSTEAD, VALID, refused
from tests.oneslot import with_one_slot


def test_the_sample_is_valid(root: Path) -> None:
    assert b.Bundle.open(root, verify=True).manifest.segments[1].capacity == 56


def test_a_bundle_whose_graphs_have_one_slot_is_valid(root: Path) -> None:
    """All were so before a step could serve several."""
    (root / "clasp.json").write_text(json.dumps(with_one_slot(VALID)), encoding="utf-8")
    assert b.Bundle.open(root, verify=True).graph("embed").inputs[0].shape == (1, "sequence")


# The folder


def test_no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "out", b.NotABundle, "no such folder")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "\ud800"])
def test_a_path_that_cannot_be(name: str) -> None:
    with pytest.raises(b.NotABundle) as error:
        b.Bundle.open(f"/{name}")
    assert str(error.value).isprintable()


def test_a_file_is_not_a_bundle(root: Path) -> None:
    refused(root / "policy.json", b.NotABundle, "not a folder")


def test_a_folder_without_a_manifest(root: Path) -> None:
    (root / "clasp.json").unlink()
    refused(root, b.NotABundle, "no clasp.json")


@pytest.mark.parametrize("kind", INSTEAD)
def test_a_manifest_that_is_no_file(root: Path, kind: str) -> None:
    (root / "clasp.json").unlink()
    INSTEAD[kind](root / "clasp.json")
    refused(root, b.NotABundle, "clasp.json cannot be read")


@pytest.mark.parametrize("kind", INSTEAD)
def test_a_listed_file_that_is_no_file(root: Path, kind: str) -> None:
    engine = root / "graphs" / "decoder.onnx"
    engine.unlink()
    INSTEAD[kind](engine)
    refused(root, b.NotAFile if kind in ("folder", "FIFO", "socket") else b.UnsafePath, "graphs/decoder.onnx")


def test_a_folder_that_is_a_link(root: Path) -> None:
    (root / "graphs").rename(root.parent / "graphs")
    (root / "graphs").symlink_to(root.parent / "graphs")
    refused(root, b.UnsafePath, "graphs: is a symbolic link", "cp -rL")


def test_a_link_that_appears_after_opening_is_not_followed(root: Path) -> None:
    opened = b.Bundle.open(root)
    engine = root / "graphs" / "decoder.onnx"
    engine.rename(root.parent / "elsewhere")
    engine.symlink_to(root.parent / "elsewhere")
    with pytest.raises(b.UnsafePath):
        opened.verify()


def test_a_missing_file(root: Path) -> None:
    (root / "graphs" / "decoder.onnx").unlink()
    refused(root, b.MissingFile, "graphs/decoder.onnx")


@pytest.mark.parametrize("name", ["graphs/extra.data", "clasp.json.bak", "graphs/clasp.json"])
def test_an_unlisted_file(root: Path, name: str) -> None:
    (root / name).touch()
    refused(root, b.UnlistedFile, name)


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines", b"\x1b[2J"])
def test_an_unlisted_name_cannot_steer_a_terminal(root: Path, name: bytes) -> None:
    with open(os.fsencode(root) + b"/" + name, "wb"):
        refused(root, b.UnlistedFile, "not listed")


def test_an_empty_folder_carries_nothing(root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    b.Bundle.open(root, verify=True)


@pytest.mark.parametrize("size", [0, len(ENGINE) - 1, len(ENGINE) + 1])
def test_a_wrong_size(root: Path, size: int) -> None:
    os.truncate(root / "graphs" / "decoder.onnx", size)
    refused(root, b.SizeMismatch, "graphs/decoder.onnx", str(size), str(len(ENGINE)))


def test_a_wrong_hash(root: Path) -> None:
    engine = root / "graphs" / "decoder.onnx"
    engine.write_bytes(ENGINE[:-1] + b"!")
    with pytest.raises(b.HashMismatch, match=r"graphs/decoder\.onnx"):
        b.Bundle.open(root, verify=True)
