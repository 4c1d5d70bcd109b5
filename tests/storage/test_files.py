"""Files that work leaves: what is refused beforehand, and what is there after a failure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clasp_trt.errors import OutputError
from clasp_trt.storage import files

SUFFIXES = (".json", ".png")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("out", "expected a name in .json, .png"),
        ("out.txt", "expected a name in .json, .png"),
        ("folder.json", "is a folder; name a file to write"),
        ("no/out.json", "is not a folder, so out.json cannot be written there; make it first"),
    ],
)
def test_what_could_not_be_written_is_refused(tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(OutputError, match=expected):
        files.check(tmp_path / name, SUFFIXES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_leave_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match=r"may not be written to"):
        files.check(tmp_path / "out.json", SUFFIXES)


def test_what_is_there_is_replaced_by_force_alone(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("mine")
    assert files.check(tmp_path / "out.json", SUFFIXES) == tmp_path / "out.json"
    with pytest.raises(OutputError, match=r"out\.json.*--force"):
        files.check(tmp_path / "out.json", force=False)


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here.json").symlink_to(tmp_path / "there" / "out.json")
    assert files.check(tmp_path / "here.json") == tmp_path / "there" / "out.json"
    files.write_text(tmp_path / "here.json", "new")
    assert (tmp_path / "here.json").is_symlink()
    assert (tmp_path / "there" / "out.json").read_text() == "new"


@pytest.mark.parametrize("name", ["out.json", "out.PNG"])
def test_what_can_be_written_is_not_refused(tmp_path: Path, name: str) -> None:
    files.check(tmp_path / name, SUFFIXES)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_beside_its_place_under_its_suffix(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("earlier")

    def save(draft: Path) -> None:
        assert (draft.parent, draft.suffix) == (tmp_path, ".json")
        draft.write_text("new")
        assert target.read_text() == "earlier"

    files.write(target, save)
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("bug")])
def test_a_failure_keeps_what_was_there(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "out.json"
    target.write_text("earlier")

    def save(draft: Path) -> None:
        draft.write_text("half")
        raise error

    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)) as caught:
        files.write(target, save)
    if isinstance(error, OSError):
        assert str(caught.value) == (
            f"cannot write {target} (No space left on device); choose another place, or make room"
        )
    assert target.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [target]
