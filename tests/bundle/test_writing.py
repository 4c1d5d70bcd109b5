"""Where a bundle is written: what may be replaced, what stays as it was, and disks that refuse."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clasp_trt.bundle import (
    MANIFEST,
    Bundle,
    write,
)
from clasp_trt.errors import OutputError
from clasp_trt.storage import leftovers
from tests.bundle.written import build, fill, label, manifest


def test_nothing_is_visible_before_the_commit(tmp_path: Path) -> None:
    with write(tmp_path / "out") as making:
        fill(making.root)
        assert making.root.parent == tmp_path  # the same file system, so that a rename suffices
        assert str(os.getpid()) in making.root.name
        assert not (tmp_path / "out").exists()
        making.commit(manifest())
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_without_a_commit_nothing_stays(tmp_path: Path, error: type[BaseException] | None) -> None:
    def start() -> None:
        with write(tmp_path / "a" / "b" / "out") as making:
            fill(making.root)
            if error is not None:
                raise error

    if error is None:
        start()
    else:
        with pytest.raises(error):
            start()
    assert os.listdir(tmp_path) == []


def test_parents_are_made_and_a_link_is_followed(tmp_path: Path) -> None:
    build(tmp_path / "a" / "b" / "out")
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b" / "out")
    build(tmp_path / "link", "second", force=True)
    assert (tmp_path / "link").is_symlink()
    assert label(Bundle.open(tmp_path / "link")) == label(Bundle.open(tmp_path / "a/b/out")) == "second"
    assert os.listdir(tmp_path / "a" / "b") == ["out"]


@pytest.mark.parametrize(("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_modes_follow_the_umask_whatever_the_sources_had(tmp_path: Path, umask: int, file: int, folder: int) -> None:
    before = os.umask(umask)
    try:
        with write(tmp_path / "out") as making:
            fill(making.root)
            (making.root / "graphs").chmod(0o700)
            for i, mode in enumerate((0o600, 0o777, 0o444)):
                (making.root / f"graphs/segment_{i}.onnx").chmod(mode)
            making.commit(manifest())
    finally:
        os.umask(before)
    for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (folder if path.is_dir() else file), path


def test_an_existing_bundle_is_replaced_by_force_alone(tmp_path: Path) -> None:
    build(tmp_path / "out")
    with pytest.raises(OutputError, match="--force"):
        build(tmp_path / "out", "second")
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "first"
    build(tmp_path / "out", "second", force=True)
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "second"
    assert os.listdir(tmp_path) == ["out"]


def test_force_replaces_a_damaged_bundle_and_an_empty_folder(tmp_path: Path) -> None:
    (build(tmp_path / "damaged").root / MANIFEST).write_text("{")
    (tmp_path / "empty").mkdir()
    for name in ("damaged", "empty"):
        assert label(build(tmp_path / name, "second", force=True)) == "second"


def _notes(root: Path) -> None:
    root.mkdir()
    (root / "notes.txt").write_text("mine")


def _notes_in_a_bundle(root: Path) -> None:
    build(root)
    (root / "notes.txt").write_text("mine")


def _link_in_a_bundle(root: Path) -> None:
    build(root)
    (root / "notes").symlink_to("elsewhere")


def _link_as_manifest(root: Path) -> None:
    root.mkdir()
    (root / MANIFEST).symlink_to("elsewhere")


@pytest.mark.parametrize(
    "occupy",
    [_notes, _notes_in_a_bundle, _link_in_a_bundle, _link_as_manifest, lambda root: root.write_text("mine")],
)
@pytest.mark.parametrize("force", [False, True])
def test_what_is_not_the_bundle_s_is_never_removed(
    tmp_path: Path, occupy: Callable[[Path], object], force: bool
) -> None:
    occupy(tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError) as refused:
        build(tmp_path / "out", force=force)
    assert "--force" not in str(refused.value)  # it would not help
    assert sorted(tmp_path.rglob("*")) == before


def test_a_destination_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists"):
        build(tmp_path / "out", "slower", edit=lambda _: build(tmp_path / "out", "faster"))
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "faster"
    assert os.listdir(tmp_path) == ["out"]


def test_two_builds_do_not_replace_the_same_bundle_at_once(tmp_path: Path) -> None:
    held = leftovers.Lock()
    assert held.acquire(build(tmp_path / "out").root)
    with pytest.raises(OutputError, match="another run is replacing"):
        build(tmp_path / "out", "second", force=True)
    held.release()
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "first"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"precision": "fp64"}, "precision: expected one of fp32"),
        ({"graphs": ()}, "there is no graph 'segment_0'"),
        ({"stop_tokens": [2]}, "reads back as another manifest"),
    ],
)
def test_a_builder_s_mistake_is_a_traceback(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    tokens = change.pop("stop_tokens", None)
    wrong = replace(manifest(), **change)
    if tokens is not None:
        wrong = replace(wrong, model=replace(wrong.model, stop_token_ids=tokens))
    with pytest.raises(RuntimeError, match=problem):
        build(tmp_path / "out", made_of=wrong)
    assert os.listdir(tmp_path) == []


# A disk that refuses


@pytest.mark.parametrize("name", ["/", "a\0b", "file/out", "x" * 250])
def test_a_place_that_cannot_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as refused:
        build(tmp_path / name)
    assert "\n" not in str(refused.value)
    assert str(refused.value).isprintable()
    assert os.listdir(tmp_path) == ["file"]


def test_a_parent_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(path: str, mode: int = 0o777) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)  # root obeys no mode bits

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(OutputError, match=r"permission denied at.*building"):
        build(tmp_path / "out")


def test_a_file_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    def write_too_much(root: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            (root / "weights").write_bytes(bytes(8192))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    build(tmp_path / "out")
    with pytest.raises(OutputError, match=r"file-size.*0\.00 GB.*make room"):
        build(tmp_path / "out", "second", force=True, edit=write_too_much)
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "first"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [OSError(errno.EPIPE, "pipe"), FileNotFoundError(errno.ENOENT, "no", "/source")])
def test_errors_about_other_files_pass(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(OSError) as raised, write(tmp_path / "out"):  # noqa: PT011 (identity is asserted)
        raise error
    assert raised.value is error


def test_a_disk_that_fills_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each system call in turn that can need room fails once."""
    calls, failing = 0, 0

    def fails(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **options)

        return call

    for name in ("mkdir", "rename", "fsync", "chmod"):
        monkeypatch.setattr(os, name, fails(getattr(os, name)))
    out = tmp_path / "out"
    refused = 0
    build(out)
    while calls >= failing:
        before = label(Bundle.open(out, verify=True))
        calls, failing = 0, failing + 1
        said = ""
        try:
            build(out, f"{failing}", force=True)
        except OutputError as error:
            said = str(error)
            refused += 1
        assert not said or "no space left on the device" in said
        now = label(Bundle.open(out, verify=True))
        assert now in (before, f"{failing}")
        assert os.listdir(tmp_path) == ["out"]
    assert refused > 10
