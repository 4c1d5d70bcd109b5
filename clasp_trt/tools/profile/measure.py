"""Bundles answer in turn, each in its process; then, if asked, once more with every node timed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from clasp_trt.bundle import Bundle
from clasp_trt.progress import Progress, silent
from clasp_trt.runtime.backends.find import check_backend
from clasp_trt.runtime.fitting import check_images, check_proposed
from clasp_trt.tools.profile import layers
from clasp_trt.tools.profile.report import Measurement, Report
from clasp_trt.tools.profile.sample import Sample
from clasp_trt.tools.profile.worker import Job, Worker
from clasp_trt.tools.profile.workload import Workload


@dataclass(frozen=True)
class Options:
    """``runs`` answers of each bundle count, at least 1, after ``warmup`` that do not. ``provider`` is that of
    :func:`clasp_trt.load`."""

    runs: int = 20
    warmup: int = 3
    threads: int | None = None
    per_layer: bool = False
    provider: str | None = None


class Answering(Protocol):
    """What can take its turn."""

    def run(self) -> Sample: ...


def profile(
    bundles: Sequence[Bundle], workload: Workload, options: Options | None = None, *, progress: Progress = silent
) -> Report:
    """Measures ``bundles`` on ``workload`` and compares the first one with each of the others.

    Raises:
        BackendError: a bundle that this runtime cannot run, before anything is loaded; or one whose process was killed.
        ImageError: more pictures than a bundle takes, before anything is loaded.
        PromptError: an unknown category, an answer that a bundle's context has no room for, or more proposed tokens
            than a bundle verifies.
        PolicyError, MethodError, RouterError: a policy, a method or a router that a bundle cannot follow.
    """
    options = options or Options()
    for bundle in bundles:
        check_backend(bundle, options.provider)
        check_images(len(workload.images), bundle)
        check_proposed(workload.lookup, bundle)
    with ExitStack() as stack:
        workers = []
        for number, bundle in enumerate(bundles):
            progress("load", number, len(bundles))
            workers.append(
                stack.enter_context(Worker(Job(bundle.root, workload, options.threads, None, options.provider)))
            )
        taken = take_turns(workers, options.runs, options.warmup, progress)
    # after all has been measured, since it takes the processor's time
    nodes = [_layers(bundle, workload, options, progress) if options.per_layer else None for bundle in bundles]
    measurements = [
        Measurement(bundle, tuple(samples), worker.before, worker.loaded, found)
        for bundle, worker, samples, found in zip(bundles, workers, taken, nodes, strict=True)
    ]
    return Report(workload, options.runs, options.warmup, tuple(measurements))


def take_turns(workers: Sequence[Answering], runs: int, warmup: int, progress: Progress = silent) -> list[list[Sample]]:
    """``runs`` samples of each, interleaved round by round, after ``warmup`` rounds that are dropped."""
    samples: list[list[Sample]] = [[] for _ in workers]
    total = (warmup + runs) * len(workers)
    for number in range(warmup + runs):
        for place, worker in enumerate(workers):
            progress("warm up" if number < warmup else "measure", number * len(workers) + place, total)
            sample = worker.run()
            if number >= warmup:
                samples[place].append(sample)
    progress("measure", total, total)
    return samples


def _layers(bundle: Bundle, workload: Workload, options: Options, progress: Progress) -> layers.Layers:
    """A few answers in a new process, in which the graphs write profiles of their own."""
    short = replace(workload, new_tokens=min(workload.new_tokens, layers.MOST_TOKENS))
    with tempfile.TemporaryDirectory() as folder:
        with Worker(Job(bundle.root, short, options.threads, Path(folder), options.provider)) as worker:
            samples = []
            for number in range(layers.RUNS):
                progress("per layer", number, layers.RUNS)
                samples.append(worker.run())
            worker.finish()
        return layers.read(Path(folder), samples)
