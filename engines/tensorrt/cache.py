"""Engines that were built before, by what they were built from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import onnx

from clasp_trt.bundle import Profile
from clasp_trt.engines.tensorrt.builder import Recipe
from clasp_trt.storage.hashes import file_sha256

RULES = 2
"""Counted up when the same recipe is built in another way."""
LIMIT_BYTES = 32 * 10**9
"""Size that the cache is kept under: the engines used longest ago go first."""


def folder() -> Path:
    """Where the cache lies: ``$XDG_CACHE_HOME/clasp-trt/engines``, or below ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "clasp-trt" / "engines"


def key(recipe: Recipe, model: Path, profiles: Sequence[Profile]) -> str:
    """SHA-256 of all that decides the engine: graph and weights byte for byte, library, options and profiles."""
    graph = onnx.load(model, load_external_data=False).graph
    outside = {entry.value for tensor in graph.initializer for entry in tensor.external_data if entry.key == "location"}
    content = {
        "rules": RULES,
        "library": [recipe.library.backend, recipe.library.version],
        "sms": recipe.sms,
        "workspace": recipe.workspace,
        **({"sparse": True} if recipe.sparse else {}),
        "profiles": [asdict(profile) for profile in profiles],
        "files": [file_sha256(path) for path in (model, *(model.parent / name for name in sorted(outside)))],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def fetch(name: str, destination: Path) -> bool:
    """Copies the engine kept under ``name`` to ``destination``; False if there is none, or none that is whole."""
    for kept in folder().glob(f"{name}-*.engine"):
        with suppress(OSError):
            shutil.copyfile(kept, destination)
            if kept.stem.rpartition("-")[2] == file_sha256(destination):
                os.utime(kept)  # it was used now
                return True
            kept.unlink()
    destination.unlink(missing_ok=True)
    return False


def keep(name: str, engine: Path) -> None:
    """Keeps a copy of the file ``engine`` under ``name``. What the machine refuses is let go: a cache is no duty."""
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        if _make_room(engine.stat().st_size):
            descriptor, staged = tempfile.mkstemp(dir=folder(), suffix=".part")
            os.close(descriptor)
            try:
                shutil.copyfile(engine, staged)
                os.replace(staged, folder() / f"{name}-{file_sha256(engine)}.engine")
            except BaseException:
                os.unlink(staged)
                raise


def _make_room(size: int) -> bool:
    """Removes what was used longest ago until ``size`` more fits; False if it never does."""
    if size > LIMIT_BYTES:
        return False
    held = sorted(((path.stat().st_mtime, path) for path in folder().iterdir()), reverse=True)
    total = size
    for _, path in held:  # the latest first
        total += path.stat().st_size
        if total > LIMIT_BYTES:
            path.unlink()
    return True
