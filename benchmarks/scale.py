"""Checkpoints of true size on this machine: what each step takes, part by part.

``python -m benchmarks.scale --folder F --preset llava-1.5-7b --part export`` makes a checkpoint of random weights in
``F``, shard by shard, unless it is there, does one part in processes of their own, and notes seconds, peak memory and
sizes in ``F/scale.json``. What is there already is not done again, so that parts can be taken one at a time. Parts:

- ``export``: the portable bundle, in fp16;
- ``cpu``: a bundle for this CPU, in fp32; with ``--budget none`` unpruned;
- ``answer``: that bundle answers a prompt about a picture;
- ``engines``: the portable bundle for an RTX 4090, which needs no GPU;
- ``plan``: what ``clasp-trt plan`` says of the same, which needs the checkpoint's config alone.

``--table FILE`` prints the notes of a file as docs/scale.md has them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.tree_memory import TreeMemory
from benchmarks.ttft_cpu import PHOTO, PROMPT
from benchmarks.worker import ROOT, Worker
from examples import random_llava, random_qwen

MAKERS = {preset: maker.__name__ for maker in (random_llava, random_qwen) for preset in maker.PRESETS}
PARTS = ("export", "cpu", "answer", "engines", "plan")
BOUNDS_GB = {"export": 4.0, "cpu": 4.0, "answer": 8.0, "engines": 16.0}
"""Peak memory that a part may take, for 7 billion parameters rounded to 4 bits."""
TARGET = "rtx4090"
THREADS = 2


@dataclass(frozen=True)
class Run:
    """One model in one form; ``place`` is the folder of everything, ``budget`` None where nothing is pruned."""

    place: Path
    preset: str
    dtype: str
    quantize: str
    budget: str | None
    new_tokens: int
    build_memory: float

    @property
    def checkpoint(self) -> Path:
        return self.place / self.preset

    def bundle(self, kind: str) -> Path:
        words = (self.preset, self.quantize, self.budget or "none", kind)
        return self.place / "-".join(words).replace(":", "-").replace("/", "_")

    @property
    def options(self) -> list[str]:
        pruning = ["--prune-at", "none"] if self.budget is None else ["--budget", self.budget]
        return ["--quantize", self.quantize, *pruning]


def export(run: Run) -> dict[str, float]:
    """The portable bundle."""
    out = run.bundle("portable")
    found = _command("export", run.checkpoint, "-o", out, "--precision", "fp16", *run.options)
    return {**found, "bundle_gb": _gb(out)}


def cpu(run: Run) -> dict[str, float]:
    """The bundle for this CPU."""
    out = run.bundle("cpu")
    found = _command("build", run.checkpoint, "-o", out, "--target", "cpu", *run.options)
    return {**found, "bundle_gb": _gb(out)}


def answer(run: Run) -> dict[str, float]:
    """The first token and those after it, of a process that has loaded the bundle for it."""
    start = time.perf_counter()
    with TreeMemory() as memory, Worker("bundle_peer", str(run.bundle("cpu")), threads=THREADS) as worker:
        sample = worker.run(PHOTO, PROMPT, run.new_tokens)
        seconds = time.perf_counter() - start
    return {
        **_peaks(memory), "seconds": seconds, "load_s": worker.load_s, "ttft_s": sample.ttft_ms / 1e3,
        "tpot_s": sorted(sample.tpot_ms)[len(sample.tpot_ms) // 2] / 1e3,
        "prompt_tokens": sample.prompt_tokens, "new_tokens": len(sample.tokens),
    }  # fmt: skip


def engines(run: Run) -> dict[str, float]:
    """The bundle with engines, each built in a process of its own."""
    out = run.bundle(TARGET)
    limit = ["--max-build-memory", f"{run.build_memory:g}"]
    found = _command("build", run.bundle("portable"), "-o", out, "--target", TARGET, *limit)
    return {**found, "bundle_gb": _gb(out), "engines_gb": _gb(out / "engines")}


def plan(run: Run) -> dict[str, float]:
    """The plan's figures of the same bundles, in GB; both targets' memory while they answer."""
    found = dict[str, float]()
    for target, precision in (("cpu", "fp32"), (TARGET, "fp16")):
        words = ["plan", run.checkpoint, "--target", target, "--precision", precision, *run.options, "--json"]
        done = subprocess.run(_words(*words), cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        said = json.loads(done.stdout)["pruned"]
        found[f"{target}_needed_gb"] = said["memory_bytes"]["needed"] / 1e9
        found[f"{target}_bundle_gb"] = said["bundle_bytes"] / 1e9
    return found


_DOES: dict[str, Callable[[Run], dict[str, float]]] = {
    "export": export, "cpu": cpu, "answer": answer, "engines": engines, "plan": plan,
}  # fmt: skip
_MAKES = {"export": "portable", "cpu": "cpu", "engines": TARGET}
"""The kind of bundle that a part makes."""


def make(run: Run) -> dict[str, float]:
    """The checkpoint, if it is not there."""
    words = ["-m", MAKERS[run.preset], run.checkpoint, "--preset", run.preset, "--dtype", run.dtype]
    return {**_measured([sys.executable, *map(str, words)]), "bundle_gb": _gb(run.checkpoint)}


def _command(*words: str | Path) -> dict[str, float]:
    """Seconds and peaks of a command of ``clasp-trt``."""
    return _measured(_words(*words))


def _words(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "clasp_trt", *map(str, words)]


def _measured(words: list[str]) -> dict[str, float]:
    print("+", *words[1:], file=sys.stderr, flush=True)
    start = time.perf_counter()
    with TreeMemory() as memory:
        subprocess.run(words, cwd=ROOT, check=True, stdout=sys.stderr)
    return {"seconds": time.perf_counter() - start, **_peaks(memory)}


def _peaks(memory: TreeMemory) -> dict[str, float]:
    return {"anonymous_gb": memory.anonymous / 1e9, "resident_gb": memory.resident / 1e9}


def _gb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9


class Notes:
    """What was measured, in a file that is read and written anew for each part, so that two commands may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._path.read_text(encoding="utf-8")) if self._path.is_file() else {}
        return found

    def has(self, form: str, part: str) -> bool:
        return part in self.read().get(form, {})

    def add(self, form: str, part: str, figures: dict[str, float]) -> None:
        found = self.read()
        found.setdefault(form, {})[part] = {name: round(value, 3) for name, value in figures.items()}
        self._path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def table(found: dict[str, Any]) -> Iterator[str]:
    """Markdown, as in docs/scale.md."""
    yield "| | seconds | peak memory | with mapped files | bound | on disk |"
    yield "|---|---:|---:|---:|---:|---:|"
    for form, parts in found.items():
        for part, row in parts.items():
            if "seconds" not in row:
                continue
            bound = f"{BOUNDS_GB[part]:g} GB" if part in BOUNDS_GB else ""
            size = f"{row['bundle_gb']:.2f} GB" if "bundle_gb" in row else ""
            yield (
                f"| {form}, {part} | {row['seconds']:.0f} | {row['anonymous_gb']:.2f} GB | {row['resident_gb']:.2f} GB "
                f"| {bound} | {size} |"
            )
    yield ""
    yield "| | prompt | first token | each token |"
    yield "|---|---:|---:|---:|"
    for form, parts in found.items():
        if (row := parts.get("answer")) is not None:
            yield f"| {form} | {row['prompt_tokens']:g} | {row['ttft_s']:.1f} s | {row['tpot_s']:.2f} s |"


@click.command()
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Where everything is made, and kept.")
@click.option("--preset", type=click.Choice(list(MAKERS)), default="llava-1.5-7b", show_default=True)
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, default=PARTS, show_default=True)
@click.option("--dtype", type=click.Choice(["float16", "bfloat16"]), default="float16", show_default=True)
@click.option("--quantize", default="int4", show_default=True)
@click.option("--budget", default="1/9", show_default=True, help="Visual tokens on average; none: all of them.")
@click.option("--new-tokens", type=click.IntRange(min=2), default=6, show_default=True)
@click.option("--max-build-memory", "build_memory", default=14.0, show_default=True, help="GB, for the engines.")
@click.option("--again", is_flag=True, help="Do the parts even if they are in the notes.")
@click.option("--table", "notes", type=click.Path(dir_okay=False, exists=True, path_type=Path), help="Print this file.")
def main(
    folder: Path | None, preset: str, parts: tuple[str, ...], dtype: str, quantize: str, budget: str, new_tokens: int,
    build_memory: float, again: bool, notes: Path | None,
) -> None:  # fmt: skip
    """Measure the parts; exit code 1 if one takes more than its bound."""
    if notes is not None:
        print("\n".join(table(json.loads(notes.read_text(encoding="utf-8")))))
        return
    if folder is None:
        raise click.UsageError("expected --folder, where there is room for the checkpoint and its bundles")
    place = folder.resolve()
    place.mkdir(parents=True, exist_ok=True)
    run = Run(place, preset, dtype, quantize, None if budget == "none" else budget, new_tokens, build_memory)
    kept, form, over = Notes(place / "scale.json"), f"{preset}, {quantize}, budget {budget}", False
    if not (run.checkpoint / "config.json").is_file():
        kept.add(preset, "checkpoint", make(run))
    for part in parts:
        if again or not kept.has(form, part):
            if part in _MAKES:
                shutil.rmtree(run.bundle(_MAKES[part]), ignore_errors=True)
            kept.add(form, part, _DOES[part](run))
        over |= kept.read()[form][part].get("anonymous_gb", 0.0) > BOUNDS_GB.get(part, float("inf"))
    print("\n".join(table(kept.read())))
    sys.exit(over)


if __name__ == "__main__":
    main()
