"""Accuracy at several budgets, with every pruning method on the same bundles: ``docs/accuracy.md`` and its plot.

``python -m benchmarks.accuracy CHECKPOINT --data D.jsonl -o docs/accuracy.md --cache FOLDER`` builds the checkpoint
unpruned and at six settings, asks each of them every question with every method, and writes the page, its plot and
``accuracy.json``, from which ``--redraw`` makes page and plot again. With ``--cache`` a run that was stopped goes on
where it was: bundles that are there are not built again, questions that were answered are not asked again.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import click

import clasp_trt
from benchmarks.accuracy_figures import Run, figures, versions
from benchmarks.accuracy_page import page
from benchmarks.accuracy_plot import save_plot
from clasp_trt.bundle import MANIFEST, Bundle
from clasp_trt.methods import METHODS
from clasp_trt.published import scaled_keeps
from clasp_trt.storage.hashes import file_sha256

ROOT = Path(__file__).parents[1]
NOMINAL = {Fraction(1, 3): 192, Fraction(2, 9): 128, Fraction(1, 9): 64}
"""The share that is nominally kept, and the published budget of 576 tokens whose stages are scaled."""
REPORT_S = 60.0


@dataclass(frozen=True)
class Setting:
    """One bundle: its name on the page, where it prunes, the nominal share of tokens, and how to build it."""

    name: str
    place: str
    nominal: Fraction
    options: tuple[str, ...]


UNPRUNED = Setting("unpruned", "none", Fraction(1), ("--prune-at", "none"))


def settings(tokens: int) -> tuple[Setting, ...]:
    """The paper's three budgets, as stages in the decoder and as one stage before it, for ``tokens`` visual tokens."""
    made = []
    for nominal, published in NOMINAL.items():
        stages = ",".join(map(str, scaled_keeps(published, tokens)))
        made.append(Setting(f"decoder {nominal}", "decoder", nominal, ("--schedule", stages)))
    for nominal in NOMINAL:
        budget = str(round(nominal * tokens))
        made.append(Setting(f"encoder {nominal}", "encoder", nominal, ("--prune-at", "encoder", "--budget", budget)))
    return tuple(made)


@dataclass(frozen=True)
class Job:
    """What every setting has in common. ``folder`` is of this checkpoint, policy and version alone."""

    checkpoint: Path
    data: Path
    folder: Path
    policy: Path | None
    methods: tuple[str, ...]
    limit: int | None

    def bundle(self, setting: Setting) -> Path:
        return self.folder / setting.name.replace(" ", "-").replace("/", "_")

    def answers(self, setting: Setting) -> Path:
        name = f"{self.bundle(setting).name}-{file_sha256(self.data)[:12]}-{_digest(*self._asked(setting))[:8]}.jsonl"
        return self.folder / name

    def build(self, setting: Setting) -> None:
        """Builds the bundle of a setting, unless it is there."""
        if not (self.bundle(setting) / MANIFEST).is_file():
            policy = () if self.policy is None else ("--policy", self.policy)
            _clasp("build", self.checkpoint, "-o", self.bundle(setting), *setting.options, *policy)

    def evaluate(self, setting: Setting) -> Run:
        """Builds and asks one setting; one process with one thread at a time."""
        self.build(setting)
        methods = [word for name in self._asked(setting) for word in ("--method", name)]
        limit = () if self.limit is None else ("--limit", str(self.limit))
        output = ("--output", self.answers(setting), "--threads", "1", "--json")
        report = _clasp("eval", self.bundle(setting), "--data", self.data, *methods, *limit, *output)
        return Run(setting.name, setting.place, str(setting.nominal), json.loads(report), self.answers(setting))

    def _asked(self, setting: Setting) -> Sequence[str]:
        if setting is UNPRUNED:
            return ("none",)
        # before the decoder no text has attended to anything, so there are no raters
        return [name for name in self.methods if setting.place == "decoder" or METHODS[name].raters is None]


def measure(job: Job, jobs: int) -> list[Run]:
    """Every setting, ``jobs`` at a time, in the order of the page; the unpruned one first."""
    job.build(UNPRUNED)
    tokens = Bundle.open(job.bundle(UNPRUNED)).manifest.schedule.tokens
    order = (UNPRUNED, *settings(tokens))
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(job.evaluate, setting): setting for setting in order}
        waiting, begun = set(running), time.monotonic()
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=REPORT_S, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                answered = sum(_lines(job.answers(setting)) for setting in order)
                minutes = (time.monotonic() - begun) / 60
                _say(f"{len(order) - len(waiting)} of {len(order)} settings, {answered} answers, {minutes:.0f} min")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in running]


def _clasp(*words: str | Path) -> str:
    """What ``clasp-trt`` prints; its error line ends the benchmark."""
    _say("+ clasp-trt " + " ".join(map(str, words)))
    done = subprocess.run(
        [sys.executable, "-m", "clasp_trt", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise click.ClickException(f"clasp-trt {words[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()


def checkpoint_sha256(folder: Path) -> str:
    """One hash of every file of a checkpoint that decides its answers: not of its card and its policy."""
    others = ("README.md", "policy.json")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in others)
    return _digest(*(word for path in files for word in (path.relative_to(folder).as_posix(), file_sha256(path))))


def write(output: Path, found: dict[str, object]) -> None:
    """The page, its plot and its figures; each replaces an older one in one step."""
    plot = output.parent / "images" / f"{output.stem}.png"
    plot.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.stem}-") as folder:
        staged = Path(folder)
        text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        (staged / "json").write_text(text, encoding="utf-8")
        (staged / "md").write_text(page(found, f"images/{plot.name}", f"{output.stem}.json"), encoding="utf-8")
        save_plot(staged / "plot.png", found)
        os.replace(staged / "plot.png", plot)
        os.replace(staged / "json", output.with_suffix(".json"))
        os.replace(staged / "md", output)


def _command(checkpoint: Path, data: Path, policy: Path | None, methods: Sequence[str], limit: int | None) -> str:
    """How to make the page again, without this machine's folders."""
    words = [checkpoint.name, "--data", f"{data.parent.name}/{data.name}"]
    words += [] if policy is None else ["--policy", policy.name]
    words += [] if set(methods) == _others() else [word for name in methods for word in ("--method", name)]
    words += [] if limit is None else ["--limit", str(limit)]
    return " ".join(["python -m benchmarks.accuracy", *words])


def _others() -> set[str]:
    return set(METHODS) - {"none"}


@click.command()
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--data", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Questions, JSON lines.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("docs/accuracy.md"), show_default=True)
@click.option("--policy", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Build with this policy.")
@click.option("--method", "methods", multiple=True, help="Pruning methods beside clasp [default: all].")
@click.option("--limit", type=click.IntRange(min=1), help="Ask the first N questions alone.")
@click.option("--jobs", type=click.IntRange(1, 2), default=2, show_default=True, help="Processes, of one thread each.")
@click.option("--cache", type=click.Path(path_type=Path), help="Keep bundles and answers here, and go on from them.")
@click.option("--redraw", is_flag=True, help="Make page and plot again from the figures beside OUTPUT.")
def main(
    checkpoint: Path | None,
    data: Path | None,
    output: Path,
    policy: Path | None,
    methods: tuple[str, ...],
    limit: int | None,
    jobs: int,
    cache: Path | None,
    redraw: bool,
) -> None:
    """Measure the accuracy of CHECKPOINT at several budgets and write a page about it."""
    if redraw:
        write(output, json.loads(output.with_suffix(".json").read_text(encoding="utf-8")))
        return
    if checkpoint is None or data is None:
        raise click.UsageError("a checkpoint folder and --data are needed, or --redraw")
    if unknown := set(methods) - _others():
        raise click.UsageError(f"unknown methods {', '.join(sorted(unknown))}; choose from {', '.join(METHODS)}")
    chosen = tuple(name for name in METHODS if name != "none" and (name == "clasp" or not methods or name in methods))
    weights = checkpoint_sha256(checkpoint)
    key = _digest(weights, clasp_trt.__version__, "" if policy is None else file_sha256(policy))
    with ExitStack() as stack:
        kept = cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = kept.resolve() / key[:16]
        folder.mkdir(parents=True, exist_ok=True)
        job = Job(checkpoint.resolve(), data.resolve(), folder, policy and policy.resolve(), chosen, limit)
        unpruned, *runs = measure(job, jobs)
        about = {
            "command": _command(checkpoint.resolve(), data.resolve(), policy, chosen, limit),
            "checkpoint": {"name": checkpoint.resolve().name, "sha256": weights},
            "versions": versions(),
        }
        write(output, {**about, **figures(unpruned, runs)})


if __name__ == "__main__":
    main()
