"""Checkpoints, and what peers make of them: made once, and kept in a folder under a key of all that they depend on."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.peers.install import interpreter, pins
from benchmarks.peers.lineup import MAKERS, OURS, Model
from benchmarks.worker import ROOT

ENDS = 1 << 20
"""Bytes at either end of a file of weights that its key is taken from, beside its size."""
BUILDS = ("clasp_trt", "export", "engines")
"""Source trees that a bundle of ours depends on, without :data:`_READS`."""
_READS = ("clasp_trt/cli", "clasp_trt/export", "clasp_trt/engines", "clasp_trt/runtime", "clasp_trt/tools")
_BUILDER = "clasp_trt/tools/build"

Run = Callable[[list[str], Path], None]


def checkpoint(folder: Path, shape: str, run: Run) -> Path:
    """The random checkpoint of ``shape``, made unless it is there."""
    made = folder / shape
    if not (made / "config.json").is_file():
        run([str(interpreter(folder, OURS)), "-m", MAKERS[shape], str(made), "--preset", shape], folder)
    return made


def model(folder: Path, wanted: Model, run: Run) -> Path:
    """The folder of ``wanted``, made unless one of the same key is there; what another key left is deleted.

    Raises OSError or RuntimeError when it can't be made.
    """
    source = checkpoint(folder, wanted.shape, run)
    if not wanted.command:
        return source
    place = folder / "models"
    place.mkdir(exist_ok=True)
    made = place / f"{wanted.name}-{key(source, wanted)}"
    if made.is_dir():
        return made
    for old in place.glob(f"{wanted.name}-{'?' * 16}"):
        shutil.rmtree(old)
    making = place / f".{made.name}-{os.getpid()}"
    words = [word.format(checkpoint=source, out=making) for word in wanted.command]
    try:
        run([str(interpreter(folder, wanted.peer)), "-m", *words], folder)
        making.rename(made)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return made


def key(source: Path, wanted: Model) -> str:
    """Sixteen digits of the checkpoint, the command, and the versions or the code that carries it out."""
    digest = hashlib.sha256(repr((wanted.command, _fingerprint(source))).encode())
    if wanted.peer == OURS:
        for path in sorted(_sources()):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    else:
        digest.update(pins(wanted.peer).read_bytes())
        if wanted.command[0].startswith("benchmarks."):
            digest.update((ROOT / wanted.command[0].replace(".", "/")).with_suffix(".py").read_bytes())
    return digest.hexdigest()[:16]


def _sources() -> Iterable[Path]:
    for tree in BUILDS:
        for path in (ROOT / tree).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if name.startswith(f"{_BUILDER}/") or not name.startswith(tuple(f"{each}/" for each in _READS)):
                yield path


def _fingerprint(folder: Path) -> list[tuple[str, int, str]]:
    found = []
    for path in sorted(folder.iterdir()):
        size, digest = path.stat().st_size, hashlib.sha256()
        with path.open("rb") as file:
            digest.update(file.read(ENDS))
            file.seek(max(size - ENDS, 0))
            digest.update(file.read(ENDS))
        found.append((path.name, size, digest.hexdigest()))
    return found


def by_command(words: list[str], folder: Path) -> None:
    """Runs ``words`` at the root of the tree; what they say is added to ``making.log`` of ``folder``.

    Raises RuntimeError when they fail.
    """
    log = folder / "making.log"
    with log.open("ab") as out:
        done = subprocess.run(
            words,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        )
    if done.returncode:
        raise RuntimeError(f"its model could not be made, exit code {done.returncode}: see {log}")
