"""How far ``clasp-trt plan`` is off: against published figures of Jetsons, and against CPUs.

``python -m benchmarks.plan_error`` prints what needs no measurement: the Jetsons' figures with the errors, a summary of
them, and what the README's figures of a CPU tell whatever that CPU's speed. With ``--measure`` it also makes
checkpoints with random weights, plans them for this machine, builds and runs them, and prints a third.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from benchmarks.plan_published import Comparison, published, summary, table
from benchmarks.ttft_cpu import PHOTO, PROMPT
from clasp_trt import targets
from clasp_trt.export.family import describe, read_description
from clasp_trt.tools.build.compiler import Pruning
from clasp_trt.tools.plan import Machine, Request, make, measure
from examples.llava_files import config
from examples.llava_shapes import PRESETS

ROOT = Path(__file__).parents[1]
PROMPT_TOKENS = 63  # of PROMPT with its template, in the vocabulary of a random checkpoint


def readme() -> Iterator[Comparison]:
    """The README's figures that do not hang on the speed of the CPU: the memory, and what pruning to a budget of 64
    does to the time to first token, where arithmetic is the bound throughout."""
    shape = describe(config(PRESETS["tinyllama-1.1b"], "float32", 1, 2), "config.json", "tinyllama-1.1b")
    schedule = Pruning(budget=64).schedule(shape.tower.tokens, shape.decoder.layers)
    machine = Machine(flops=1e9, bandwidth=1e12, memory=1)
    plan = make(Request(shape, targets.get("cpu"), schedule, "fp32", 1024, PROMPT_TOKENS, machine))
    assert plan.ttft_ratio is not None
    yield Comparison("first token at budget 64 against unpruned", "x", 2079 / 4904, plan.ttft_ratio)
    yield Comparison("peak memory, unpruned", "GB", 5.73, plan.unpruned.memory.needed / 1e9)
    yield Comparison("peak memory, budget 64", "GB", 5.90, plan.pruned.memory.needed / 1e9)


def measured(folder: Path, presets: tuple[str, ...], budget_share: int, rounds: int) -> Iterator[Comparison]:
    """Medians of ``rounds`` answers on this machine's CPU, unpruned and at a budget of a ``budget_share``-th."""
    machine = measure()
    print(f"{machine.flops / 1e9:.0f} GFLOP/s, {machine.bandwidth / 1e9:.1f} GB/s", file=sys.stderr)
    for preset in presets:
        checkpoint = folder / preset
        if not (checkpoint / "config.json").is_file():
            _run("-m", "examples.random_llava", checkpoint, "--preset", preset)
        shape = read_description(checkpoint / "config.json", preset)
        budget = shape.tower.tokens // budget_share
        for pruning in (Pruning("none"), Pruning(budget=budget)):
            name = f"{preset}, {'unpruned' if pruning.place == 'none' else f'budget {budget}'}"
            schedule = pruning.schedule(shape.tower.tokens, shape.decoder.layers)
            request = Request(shape, targets.get("cpu"), schedule, "fp32", 1024, PROMPT_TOKENS, machine)
            timing = make(request).pruned.timing
            assert timing is not None
            options = ("--prune-at", "none") if pruning.place == "none" else ("--budget", str(budget))
            bundle = folder / f"{preset}-{pruning.place}"
            _run("-m", "clasp_trt", "build", checkpoint, "-o", bundle, *options, "--max-context", "1024", "--force")
            ttft, tpot = _answer(bundle, rounds)
            yield Comparison(f"{name}, first token", "ms", ttft, timing.ttft * 1e3)
            yield Comparison(f"{name}, each token", "ms", tpot, timing.decode.seconds * 1e3)


def _answer(bundle: Path, rounds: int) -> tuple[float, float]:
    """Median milliseconds to the first token and per later one, after one answer that does not count."""
    from benchmarks.worker import Worker

    with Worker("bundle_peer", str(bundle), threads=2) as worker:
        samples = [worker.run(PHOTO, PROMPT, 16) for _ in range(rounds + 1)][1:]
    return (
        statistics.median(sample.ttft_ms for sample in samples),
        statistics.median(gap for sample in samples for gap in sample.tpot_ms),
    )


def _run(*words: str | Path) -> None:
    print("+", "python", *words, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, check=True, stdout=sys.stderr)


@click.command()
@click.option("--measure", "run", is_flag=True, help="Also build and run random checkpoints on this CPU.")
@click.option("--preset", "presets", multiple=True, default=("demo", "tinyllama-1.1b"), show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Keep checkpoints here [default: a temporary folder].")
def main(run: bool, presets: tuple[str, ...], rounds: int, folder: Path | None) -> None:
    """Print how far the estimates of `clasp-trt plan` are off."""
    rows = list(published())
    print(summary(rows) + "\n\n" + table(rows, "published") + "\n")
    print(table(readme(), "measured"))
    if not run:
        return
    with tempfile.TemporaryDirectory() as temporary:
        kept = (folder or Path(temporary)).resolve()
        kept.mkdir(parents=True, exist_ok=True)
        print("\n" + table(measured(kept, presets, 9, rounds), "measured"))


if __name__ == "__main__":
    main()
