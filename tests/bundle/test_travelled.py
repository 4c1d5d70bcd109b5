"""Bundles that came through a hub, git, a cluster or a desktop open; what leads out of them does not."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clasp_trt import bundle as b
from clasp_trt.bundle import tree
from clasp_trt.errors import BundleError, OutputError
from tests.bundle.sample import ENGINE, POLICY_TEXT, VALID
from tests.mistakes import says

ENGINE_PATH = "graphs/decoder.onnx"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "out"
    (root / "graphs").mkdir(parents=True)
    (root / ENGINE_PATH).write_bytes(ENGINE)
    (root / "policy.json").write_text(POLICY_TEXT, encoding="utf-8")
    (root / "clasp.json").write_text(json.dumps(VALID), encoding="utf-8")
    return root


def refused(root: Path, *facts: object, kind: type[BundleError] = b.UnsafePath) -> None:
    with pytest.raises(BundleError) as caught:
        b.Bundle.open(root)
    assert type(caught.value) is kind, caught.value
    says(caught, *facts)


def opens(root: Path) -> None:
    """Also when every hash is asked for, and with the content that was written."""
    bundle = b.Bundle.open(root, verify=True)
    assert b.Bundle.open(root).path(ENGINE_PATH).read_bytes() == ENGINE
    bundle.verify()


ASIDE = [
    *(".DS_Store", ".gitattributes", ".git/HEAD", ".cache/huggingface/.gitignore", "graphs/.nfs0000000000000001"),
    *("README.md", "LICENSE", "LICENSE.txt", "graphs/notes.txt", "NOTICE", "lost+found/x", "Thumbs.db", "paper.pdf"),
]


@pytest.mark.parametrize("name", ASIDE)
def test_what_lies_aside_is_passed_over(root: Path, name: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("x")
    opens(root)


@pytest.mark.parametrize("name", ["graphs/extra.data", "graphs/x.onnx", "policy.json.bak", "README/x.onnx.data"])
def test_what_could_be_taken_for_a_part_is_not(root: Path, name: str) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("x")
    if name.startswith("README"):
        opens(root)  # nobody looks there
    else:
        refused(root, name, kind=b.UnlistedFile)


def test_what_lies_aside_is_never_read(root: Path) -> None:
    os.mkfifo(root / ".pipe")
    (root / ".out").symlink_to("/etc")
    (root / "README.md").symlink_to("nowhere")
    (root / ".closed").mkdir(mode=0)
    opens(root)


def test_a_listed_name_that_begins_with_a_dot_is_a_part(root: Path) -> None:
    manifest = json.loads((root / "clasp.json").read_text())
    manifest["files"][".hidden/README.md"] = {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    (root / "clasp.json").write_text(json.dumps(manifest))
    refused(root, ".hidden/README.md", kind=b.MissingFile)
    (root / ".hidden").mkdir()
    (root / ".hidden" / "README.md").write_text("xx")
    refused(root, ".hidden/README.md", kind=b.SizeMismatch)
    (root / ".hidden" / "README.md").write_text("x")
    opens(root)


def _hub(root: Path) -> Path:
    """Entries are links to blobs beside the snapshots."""
    home = root.parent / "models--me--b"
    for path in [path for path in root.rglob("*") if path.is_file()]:
        blob = home / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        link = home / "snapshots" / "0123" / path.relative_to(root)
        blob.parent.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return home / "snapshots" / "0123"


def _volume(root: Path) -> Path:
    """A volume of Kubernetes: links to a dated folder, through one that is exchanged."""
    folder = root.parent / "volume"
    folder.mkdir()
    shutil.copytree(root, folder / "..2026_11_30")
    (folder / "..data").symlink_to("..2026_11_30")
    for path in root.iterdir():
        (folder / path.name).symlink_to(f"..data/{path.name}")
    return folder


def _large_files_linked(root: Path) -> Path:
    """A download of older hubs: small files are there, large ones are links into a cache elsewhere."""
    blob = root.parent / "cache" / "blob"
    blob.parent.mkdir()
    shutil.move(root / ENGINE_PATH, blob)
    (root / ENGINE_PATH).symlink_to(blob)
    return root


def _linked_root(root: Path) -> Path:
    (root.parent / "current").symlink_to(_volume(root))
    return root.parent / "current"


WAYS: dict[str, Callable[[Path], Path]] = {
    "hub": _hub,
    "volume": _volume,
    "large files": _large_files_linked,
    "a link to it": _linked_root,
}


@pytest.mark.parametrize("way", WAYS)
def test_links_to_what_was_written_are_followed(root: Path, way: str) -> None:
    opens(WAYS[way](root))


@pytest.mark.parametrize("way", WAYS)
def test_links_to_what_was_not_written_are_refused(root: Path, way: str) -> None:
    """Of the same size: the content is checked also by those who do not ask for it, since links may lead anywhere."""
    engine = WAYS[way](root) / ENGINE_PATH
    engine.resolve().write_bytes(ENGINE[:-1] + b"!")
    if engine.is_symlink():
        refused(engine.parents[1], ENGINE_PATH, "symbolic link", "SHA-256", "cp -rL")
    else:  # in a folder of the bundle that is a link
        with pytest.raises(b.HashMismatch):
            b.Bundle.open(engine.parents[1], verify=True)


@pytest.mark.parametrize(
    ("target", "facts"),
    [
        ("/etc/passwd", ("bytes",)),
        ("nowhere", ("No such file".lower(),)),
        ("decoder.onnx", ("symbolic links",)),
        ("/dev/zero", ("no file",)),
        ("/", ("elsewhere",)),
        ("..", ("back",)),
    ],
)
def test_links_that_lead_to_no_file_of_the_bundle(root: Path, target: str, facts: tuple[str, ...]) -> None:
    (root / ENGINE_PATH).unlink()
    (root / ENGINE_PATH).symlink_to(target)
    refused(root, ENGINE_PATH, "symbolic link", "cp -rL", *facts)


def test_a_pipe_behind_a_link_is_not_opened(root: Path) -> None:
    os.mkfifo(root.parent / "pipe")
    (root / ENGINE_PATH).unlink()
    (root / ENGINE_PATH).symlink_to(root.parent / "pipe")
    refused(root, ENGINE_PATH, "no file")


def test_folders_are_entered_once_and_within_the_bundle_alone(root: Path) -> None:
    (root / "graphs").rename(root / ".graphs")
    (root / "graphs").symlink_to(".graphs")
    opens(root)
    (root / ".graphs" / "graphs").symlink_to(".")  # not listed
    refused(root, "graphs/graphs", "symbolic link")
    (root / ".graphs").rename(root.parent / "graphs")
    (root / "graphs").unlink()
    (root / "graphs").symlink_to(root.parent / "graphs")
    refused(root, "graphs", "elsewhere")


def test_an_unlisted_link_is_refused_wherever_it_leads(root: Path) -> None:
    (root / "graphs" / "twin.onnx").symlink_to("decoder.onnx")
    refused(root, "graphs/twin.onnx", "symbolic link")


def test_a_manifest_may_be_a_link_within_the_bundle_alone(root: Path) -> None:
    (root / "clasp.json").rename(root / ".clasp.json")
    (root / "clasp.json").symlink_to(".clasp.json")
    opens(root)
    (root / ".clasp.json").rename(root.parent / "clasp.json")
    (root / "clasp.json").unlink()
    (root / "clasp.json").symlink_to("../clasp.json")
    refused(root, "clasp.json", "out of the bundle", "links followed", kind=b.NotABundle)


@pytest.mark.parametrize("name", ["README.md", ".git/HEAD", "..data"])
def test_what_is_passed_over_is_not_removed_either(root: Path, name: str) -> None:
    """A bundle that somebody keeps more in is not replaced, not even by force."""
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to("x") if name == "..data" else (root / name).write_text("mine")
    with pytest.raises(OutputError) as caught, b.write(root, force=True):
        pass
    says(caught, name)
    assert os.path.lexists(root / name)


def test_a_writer_takes_no_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("x")
    with pytest.raises(b.UnsafePath):
        tree.walk(tmp_path)
