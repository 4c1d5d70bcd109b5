"""What a decode step takes outside its graphs: ``python -m benchmarks.step_overhead``.

The shipped checkpoint, or ``--preset``, answers greedily, one request at a time on one thread. Of each step the time
that ONNX Runtime computes is taken away; what is left is Python and the binding of tensors. Medians over the steps of
all rounds but the first.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
import onnxruntime as ort

from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.demo.shipped import checkpoint
from examples.random_llava import PRESETS, make

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "coffee.jpg"
QUESTION = "How many cups are there?"


class Step(NamedTuple):
    """Milliseconds of one step: all of it, and outside its ``graphs`` graphs by the clock and by the thread's own CPU
    time, which other processes do not add to."""

    whole: float
    outside: float
    outside_cpu: float
    graphs: float


class Inside:
    """What ONNX Runtime took since :meth:`reset`, in seconds."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.seconds = self.cpu_seconds = 0.0
        self.graphs = 0


@contextmanager
def watched() -> Iterator[Inside]:
    """Times every graph that is run within the block."""
    inside, original = Inside(), ort.InferenceSession.run_with_iobinding

    def timed(session: ort.InferenceSession, *words: object) -> None:
        start, cpu = time.perf_counter(), time.thread_time()
        original(session, *words)
        inside.seconds += time.perf_counter() - start
        inside.cpu_seconds += time.thread_time() - cpu
        inside.graphs += 1

    ort.InferenceSession.run_with_iobinding = timed
    try:
        yield inside
    finally:
        ort.InferenceSession.run_with_iobinding = original


def steps(pipeline: Pipeline, inside: Inside, tokens: int) -> list[Step]:
    """Those of an answer of ``tokens`` tokens, of which the first is no step's."""
    answer = pipeline.stream(PHOTO, QUESTION, max_new_tokens=tokens, ignore_stop=True).events()
    next(answer)
    found = list[Step]()
    while True:
        inside.reset()
        start, cpu = time.perf_counter(), time.thread_time()
        if next(answer, None) is None:
            return found
        whole, cpu = time.perf_counter() - start, time.thread_time() - cpu
        outside = whole - inside.seconds, cpu - inside.cpu_seconds
        found.append(Step(*(1e3 * seconds for seconds in (whole, *outside)), inside.graphs))


def measure(bundle: Path, tokens: int, rounds: int) -> Step:
    """The median of each figure."""
    with load(bundle, threads=1) as pipeline, watched() as inside:
        taken = [steps(pipeline, inside, tokens) for _ in range(rounds + 1)][1:]
    figures = zip(*(step for answer in taken for step in answer), strict=True)
    return Step(*map(statistics.median, figures))


@click.command()
@click.option("--preset", type=click.Choice(sorted(PRESETS)), help="Random weights [default: the shipped checkpoint].")
@click.option("--tokens", type=click.IntRange(2), default=100, show_default=True, help="Tokens of each answer.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
def main(preset: str | None, tokens: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        model = checkpoint(None) if preset is None else make(Path(root, "model"), PRESETS[preset])
        found = measure(build(model, Path(root, "bundle")).root, tokens, rounds)
    print(f"milliseconds a step outside the graphs: {found.outside:.3f} (CPU time {found.outside_cpu:.3f})")
    print(f"{found.graphs:.0f} graphs a step, {found.whole:.2f} ms with them")


if __name__ == "__main__":
    main()
