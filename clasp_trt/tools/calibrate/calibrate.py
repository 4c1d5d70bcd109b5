"""The calibration of a bundle (Appendix B.1): per category the row that answers most questions right.

Categories are independent, since a prompt reads one row. In each, :mod:`search` finds the best of :mod:`candidates` on
one part of the questions; it takes the row's place if it also answers more of the held-out part right.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import clasp_trt
from clasp_trt.bundle import MANIFEST, Bundle
from clasp_trt.errors import BundleError, DataError, OutputError
from clasp_trt.policy import Category, Policy
from clasp_trt.progress import Progress, silent
from clasp_trt.storage import files
from clasp_trt.storage.apart import keep_apart
from clasp_trt.storage.hashes import file_sha256
from clasp_trt.storage.journal import journal_path
from clasp_trt.tools.calibrate.answers import Answers
from clasp_trt.tools.calibrate.candidates import RATIOS, candidates, describe, kept
from clasp_trt.tools.calibrate.journal import Journal, open_journal
from clasp_trt.tools.calibrate.report import Line, Report, Searched, held_out
from clasp_trt.tools.calibrate.sampling import Sample, sample
from clasp_trt.tools.calibrate.search import search
from clasp_trt.tools.evaluate.answers import DEFAULT_MAX_NEW_TOKENS
from clasp_trt.tools.evaluate.dataset import Row, linked
from clasp_trt.tools.evaluate.questions import Questions, check_categories
from clasp_trt.tools.evaluate.statistics import Share, paired

LEAST = 20
"""Questions that a category needs in each part; with fewer its row is kept."""


@dataclass(frozen=True)
class Options:
    """What decides the outcome, besides bundle and data.

    ``questions`` is the most per category to search on, ``held_out`` to check on; ``ratios`` are tried beside each
    row's own. Raises :class:`DataError` for parts smaller than :data:`LEAST`.
    """

    questions: int = 100
    held_out: int = 100
    ratios: tuple[Decimal, ...] = RATIOS
    seed: int = 0
    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS

    def __post_init__(self) -> None:
        for name, count in (("--questions", self.questions), ("--held-out", self.held_out)):
            if count < LEAST:
                raise DataError(f"{name} is {count}; with fewer than {LEAST} questions a category cannot be calibrated")


def calibrate(
    bundle: str | os.PathLike[str],
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    options: Options = Options(),
    *,
    threads: int | None = None,
    cache_mb: int = 1024,
    force: bool = False,
    restart: bool = False,
    progress: Progress = silent,
) -> Report:
    """Calibrates the policy of ``bundle`` on the questions of ``data`` and writes it to ``output``.

    ``cache_mb`` bounds the memory for vision features. ``force`` replaces an older file at ``output``. Answers are kept
    beside it until the policy is written: interrupted, the same call goes on from there, unless ``restart`` begins
    anew. Equal inputs and ``options`` give equal bytes. Raises a :class:`clasp_trt.errors.ClaspError`.
    """
    from clasp_trt.runtime.pipeline import load
    from clasp_trt.runtime.routing.folder import router_for

    opened = Bundle.open(bundle)
    target = _destination(output, opened, force)
    keep_apart(target, data)
    policy, schedule = opened.policy, opened.manifest.schedule
    if len(policy.layers) == 1 and not schedule.stages:
        raise BundleError(
            f"{opened.root} reads one vision layer and prunes nothing, so there is nothing to calibrate; "
            "build it with --vision-layers or a budget"
        )
    questions = Questions.read(data)
    check_categories(questions, policy)
    names = [row.name for row in policy.categories]
    router = router_for(policy, opened)
    drawn = sample(
        [(row.category or router.route(row.prompt).name, row) for row in questions.rows], names,
        questions=options.questions, held_out=options.held_out, seed=options.seed,
    )  # fmt: skip
    samples = [drawn[name] for name in names]
    if not any(map(_suffices, samples)):
        raise DataError(
            f"{questions.name}: no category has {LEAST} questions to search on and {LEAST} about other pictures to "
            f"check on (the most are {max(len(part.search) for part in samples)} and "
            f"{max(len(part.held_out) for part in samples)}); give more"
        )
    inputs = _inputs(opened, questions, samples, options)
    with open_journal(journal_path(target), inputs, restart=restart) as journal:
        answers = Answers(
            load(opened.root, threads=threads, image_cache_bytes=0, reuse_prompts=False), questions.name,
            max_new_tokens=options.max_new_tokens, cache_bytes=cache_mb * 10**6,
        )  # fmt: skip
        run = _Run(opened, options, answers, journal, progress)
        lines, rows = zip(*(run.category(category, part) for category, part in enumerate(samples)), strict=True)
    report = Report(replace(policy, categories=rows, provenance=_provenance(lines, opened, questions, options)), lines)
    files.write_text(target, report.policy.dumps())
    journal_path(target).unlink()
    return report


@dataclass(frozen=True)
class _Run:
    """What the categories of a calibration share."""

    bundle: Bundle
    options: Options
    answers: Answers
    journal: Journal
    progress: Progress

    def category(self, category: int, part: Sample) -> tuple[Line, Category]:
        """Searches one category and checks the winner; returns what was found and the row to take."""
        row, counts = self.bundle.policy.categories[category], (len(part.search), len(part.held_out))
        if not _suffices(part):
            return Line(row.name, *counts, None, "too few questions" if any(counts) else "no questions"), row
        offered = self._offered(category)
        found = search(
            len(offered),
            len(part.search),
            lambda candidate, question: self._right(offered, category, candidate, part.search, question, "search"),
        )
        before, best = (
            [self._right(offered, category, each, part.held_out, n, "held out") for n in range(len(part.held_out))]
            for each in (0, found.best)
        )
        searched = Searched(
            candidates=len(offered),
            rejected=found.rejected,
            before=describe(offered[0], category),
            best=describe(offered[found.best], category),
            search_before=_share(found.right[0]),
            search_best=_share(found.right[found.best]),
            held_out_before=_share(before),
            held_out_best=_share(best),
            gain=paired(np.array(best), np.array(before), _pictures(part.held_out)),
        )
        if sum(best) > sum(before):
            return Line(row.name, *counts, searched, None), offered[found.best].categories[category]
        return Line(
            row.name, *counts, searched, "no better on held-out questions" if found.best else "nothing better"
        ), row

    def _offered(self, category: int) -> tuple[Policy, ...]:
        layers, feature_layer = self.bundle.policy.layers, self.bundle.manifest.model.vision.feature_layer
        return candidates(
            self.bundle.policy,
            category,
            centre=feature_layer if feature_layer in layers else layers[-1],
            keeps=kept(self.bundle.manifest.schedule, varies=self.bundle.manifest.model.varies),
            ratios=self.options.ratios,
        )

    def _right(
        self, offered: Sequence[Policy], category: int, candidate: int, rows: Sequence[Row], question: int, part: str
    ) -> bool:
        policy, row = offered[candidate], rows[question]
        of = len(policy.categories)
        self.progress(f"{policy.categories[category].name}, {category + 1} of {of}: {part}", question, len(rows))
        return self.journal.ask((category, candidate, row.line), lambda: self.answers.right(policy, category, row))


def _suffices(part: Sample) -> bool:
    return min(len(part.search), len(part.held_out)) >= LEAST


def _share(right: Sequence[bool]) -> Share:
    return Share(sum(right), len(right))


def _pictures(rows: Sequence[Row]) -> NDArray[np.int64]:
    """A number for each row, the same for rows of one picture."""
    pictures = linked(rows)
    numbers = {picture: number for number, picture in enumerate(pictures)}
    return np.array([numbers[picture] for picture in pictures], np.int64)


def _provenance(lines: tuple[Line, ...], bundle: Bundle, questions: Questions, options: Options) -> dict[str, object]:
    """Where the policy comes from; nothing in it depends on when or where it was made."""
    before, after = held_out(lines)
    provenance: dict[str, object] = {
        "kind": "calibrated",
        "model": bundle.manifest.model.name,
        "schedule": bundle.manifest.schedule.describe(),
        "data": Path(questions.name).name,
        "data_sha256": questions.sha256,
        "questions": sum(line.questions for line in lines if line.searched is not None),
        "held_out": before.total,
        "held_out_before": round(before.value, 6),
        "held_out_after": round(after.value, 6),
        "seed": options.seed,
        "before": bundle.policy.provenance["kind"],
        "clasp_trt": clasp_trt.__version__,
    }
    if kept := [f"{line.category} ({line.kept})" for line in lines if line.kept is not None]:
        provenance["kept"] = ", ".join(kept)
    return provenance


def _inputs(bundle: Bundle, questions: Questions, samples: Sequence[Sample], options: Options) -> dict[str, str]:
    """What the answers depend on, each part as a hash under the name by which a person would call it."""
    pictures = hashlib.sha256()
    asked_about = (row.shown for part in samples for row in (*part.search, *part.held_out))
    for image in sorted({image for images in asked_about for image in images}):
        frames = sorted(image.iterdir()) if image.is_dir() else [image]
        try:
            for frame in frames:
                pictures.update(bytes.fromhex(file_sha256(frame)))
        except OSError as error:
            raise DataError(f"{questions.name}: {image} cannot be read ({error.strerror})") from None
    asked = [options.questions, options.held_out, list(map(str, options.ratios)), options.seed, options.max_new_tokens]
    return {
        "bundle": file_sha256(bundle.root / MANIFEST),
        "data": questions.sha256,
        "pictures": pictures.hexdigest(),
        "options": json.dumps(asked),
        "versions": f"{clasp_trt.__version__}, onnxruntime {metadata.version('onnxruntime')}",
    }


def _destination(output: str | os.PathLike[str], bundle: Bundle, force: bool) -> Path:
    """The path to write. Raises :class:`OutputError` for one that cannot or may not be written."""
    target = files.check(output, force=force)
    if bundle.root.resolve() in target.parents:
        raise OutputError(
            f"{output}: lies in the bundle, whose files have fixed hashes; write it elsewhere and give it to --policy"
        )
    return target
