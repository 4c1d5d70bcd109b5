"""A router folder appears whole, replaces whole, and comes back after a replacement that was killed midway."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clasp_trt.errors import OutputError
from clasp_trt.storage import leftovers
from clasp_trt.tools.routers.folder import router_folder


def put(folder: Path, content: str) -> None:
    (folder / "router.json").write_text(json.dumps(content))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_is_there_until_it_is_whole(tmp_path: Path) -> None:
    with router_folder(tmp_path / "router") as staged:
        put(staged, "new")
        assert not (tmp_path / "router").exists()
    assert names(tmp_path) == ["router"]
    assert names(tmp_path / "router") == ["router.json"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    with router_folder(tmp_path / "router") as staged:
        put(staged, "old")

    def fail() -> None:
        with router_folder(tmp_path / "router", force=True) as staged:
            put(staged, "new")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(tmp_path) == ["router"]
    assert (tmp_path / "router" / "router.json").read_text() == '"old"'


def test_what_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def meanwhile() -> None:
        with router_folder(tmp_path / "router", force=True) as staged:
            put(staged, "new")
            (tmp_path / "router").mkdir()
            (tmp_path / "router" / "thesis.tex").write_text("years of work")

    with pytest.raises(OutputError, match="is no router"):
        meanwhile()
    assert names(tmp_path / "router") == ["thesis.tex"]
    assert names(tmp_path) == ["router"]


def test_an_older_one_comes_back_after_a_kill_between_the_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "router"
    with router_folder(target) as staged:
        put(staged, "old")
    rename = os.rename

    def killed(source: Path, destination: Path) -> None:
        if Path(destination) == target:
            raise KeyboardInterrupt
        rename(source, destination)

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt), router_folder(target, force=True) as staged:
        put(staged, "new")
    monkeypatch.undo()
    assert not target.exists()
    leftovers.sweep(target)
    assert (target / "router.json").read_text() == '"old"'


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "router")
    with router_folder(tmp_path / "link") as staged:
        put(staged, "new")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "router") == ["router.json"]


def test_destinations_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="there is no folder"), router_folder(tmp_path / "file" / "router"):
        pass
    with pytest.raises(OutputError, match="cannot be written"), router_folder("/proc/router"):
        pass
