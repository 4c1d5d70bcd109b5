"""The cache gives back what was kept, byte for byte, and never anything else."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest

from clasp_trt.bundle import Bundle, Profile
from clasp_trt.engines.tensorrt import cache
from clasp_trt.engines.tensorrt.builder import Recipe
from clasp_trt.engines.tensorrt.library import Library

PROFILES = (Profile("request", {"batch": (1, 1, 1)}),)
RECIPE = Recipe(Library("tensorrt-rtx", None, "1.7.1.116"), ("8.9",))


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "clasp-trt" / "engines"


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "made.engine"
    path.write_bytes(b"machine code")
    return path


@pytest.fixture
def model(built: Callable[..., Bundle], tmp_path: Path) -> Path:
    return Path(copytree(built(target=None).root / "graphs", tmp_path / "graphs")) / "embed.onnx"


def test_what_was_kept_comes_back(engine: Path, tmp_path: Path) -> None:
    assert not cache.fetch("a" * 64, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    cache.keep("a" * 64, engine)
    assert cache.fetch("a" * 64, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"machine code"
    assert not cache.fetch("b" * 64, tmp_path / "other")


def test_a_damaged_entry_is_dropped(engine: Path, home: Path, tmp_path: Path) -> None:
    cache.keep("a" * 64, engine)
    (kept,) = home.iterdir()
    kept.write_bytes(b"machine c0de")
    assert not cache.fetch("a" * 64, tmp_path / "out")
    assert list(home.iterdir()) == []
    assert not (tmp_path / "out").exists()


def test_a_cache_that_cannot_be_written_is_done_without(engine: Path, home: Path, tmp_path: Path) -> None:
    home.parent.mkdir(parents=True)
    home.write_text("a file where the folder should be")
    cache.keep("a" * 64, engine)
    assert not cache.fetch("a" * 64, tmp_path / "out")


def test_the_entry_used_longest_ago_makes_room(
    engine: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LIMIT_BYTES", 2 * engine.stat().st_size)
    for age, name in ((30, "a"), (20, "b")):
        cache.keep(name * 64, engine)
        (kept,) = home.glob(f"{name}*")
        os.utime(kept, (kept.stat().st_mtime - age,) * 2)
    assert cache.fetch("a" * 64, tmp_path / "out")  # used now
    cache.keep("c" * 64, engine)
    assert {path.name[0] for path in home.iterdir()} == {"a", "c"}
    monkeypatch.setattr(cache, "LIMIT_BYTES", 3)
    cache.keep("d" * 64, engine)
    assert {path.name[0] for path in home.iterdir()} == {"a", "c"}, "what never fits drives nothing out"


def test_the_key_depends_on_all_that_decides_the_engine(model: Path) -> None:
    def key(recipe: Recipe = RECIPE, profiles: tuple[Profile, ...] = PROFILES) -> str:
        return cache.key(recipe, model, profiles)

    keys = [
        key(),
        key(replace(RECIPE, sms=("8.6",))),
        key(replace(RECIPE, workspace=10**9)),
        key(replace(RECIPE, sparse=True)),
        key(replace(RECIPE, library=replace(RECIPE.library, version="1.8"))),
        key(replace(RECIPE, library=replace(RECIPE.library, backend="tensorrt"))),
        key(profiles=(Profile("request", {"batch": (1, 1, 2)}),)),
    ]
    assert key() == keys[0]
    weights = model.with_name("embed.onnx.data")
    changed = bytearray(weights.read_bytes())
    changed[0] ^= 1
    weights.write_bytes(changed)
    keys.append(key())
    model.write_bytes(model.read_bytes().replace(b"embedding", b"embeddinG"))
    keys.append(key())
    assert len(set(keys)) == len(keys)
