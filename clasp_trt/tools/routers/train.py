"""``router train``: labelled prompts become ``router.onnx`` and ``router.json``.

Model and bias are fitted on the training phrasings; temperature and threshold on the validation phrasings; what is
reported comes from held-out phrasings, which nothing was fitted on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clasp_trt.bundle import MANIFEST
from clasp_trt.errors import OutputError, RouterError
from clasp_trt.policy import PRIOR_THRESHOLD
from clasp_trt.progress import Progress, silent
from clasp_trt.runtime.routing.features import VERSION
from clasp_trt.runtime.routing.folder import SPEC
from clasp_trt.runtime.routing.model import GRAPH, RouterModel
from clasp_trt.storage import files
from clasp_trt.storage.apart import keep_apart
from clasp_trt.storage.fields import load
from clasp_trt.storage.hashes import file_sha256
from clasp_trt.tools.routers import labelled, metrics
from clasp_trt.tools.routers.bags import Bags
from clasp_trt.tools.routers.graph import graph
from clasp_trt.tools.routers.linear import Linear, Training, fit, softmax
from clasp_trt.tools.routers.metrics import Costs
from clasp_trt.tools.routers.phrases import ASSET, ASSETS, Phrases
from clasp_trt.tools.routers.prompts import HELD_OUT, TRAIN, VALIDATION, Labelled, generate, part_of

BUCKETS = 2**17
PER_CATEGORY = {TRAIN: 12000, VALIDATION: 800, HELD_OUT: 1200}
"""About how many prompts of each category the divided phrases give to each part."""


@dataclass(frozen=True)
class Trained:
    """A router and what it can do, both as written."""

    model: RouterModel
    graph: bytes


def train(
    data: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    buckets: int = BUCKETS,
    per_category: dict[str, int] | None = None,
    training: Training = Training(),  # noqa: B008 - frozen
    costs: Costs = Costs(),  # noqa: B008 - frozen
    progress: Progress = silent,
) -> Trained:
    """Trains a router on the built-in prompts and the rows of ``data``.

    A row's part is told by the hash of its prompt, so that a row is never both trained on and measured. Categories that
    only ``data`` names come after the built-in ones and before Default. Equal arguments give equal bytes on one
    machine.

    Raises:
        DataError: ``data`` cannot be read.
        RouterError: a category has no prompt to train on.
    """
    phrases = Phrases.load()
    own = () if data is None else labelled.read(data)
    names = _names(phrases, own)
    progress("write prompts", 0, 1)
    parts = generate(phrases, per_category=per_category or PER_CATEGORY, seed=seed)
    parts = {
        part: (*made, *(row for row in own if part_of(row.prompt.strip()) == part)) for part, made in parts.items()
    }
    missing = set(names) - {item.category for item in parts[TRAIN]}
    if missing:
        raise RouterError(
            f"no prompt of category {sorted(missing)[0]!r} is left to train on; give more rows of it in --data"
        )
    bags, right = {}, {}
    for number, part in enumerate((TRAIN, VALIDATION, HELD_OUT)):
        progress("read prompts", number, len(parts))
        bags[part] = Bags.of([item.prompt for item in parts[part]], buckets)
        right[part] = np.array([names.index(item.category) for item in parts[part]], dtype=np.int64)
    model = fit(
        bags[TRAIN], right[TRAIN], buckets=buckets, count=len(names), seed=seed, training=training, progress=progress
    ).rounded()
    temperature = metrics.fit_temperature(model.logits(bags[VALIDATION]), right[VALIDATION])
    calibrated = softmax(model.logits(bags[VALIDATION]), temperature)
    threshold = metrics.best_threshold(calibrated, right[VALIDATION], costs)
    kinds = [phrases.kinds.get(item.source, item.category) for item in parts[HELD_OUT]]
    made = graph(model, temperature)
    return Trained(
        RouterModel(
            features=VERSION,
            categories=names,
            buckets=buckets,
            threshold=threshold,
            temperature=temperature,
            overrides=_overrides(names),
            sha256=hashlib.sha256(made).hexdigest(),
            provenance={
                "prompts": {part: len(items) for part, items in parts.items()},
                "phrases_sha256": phrases_sha256(),
                "data_sha256": None if data is None else file_sha256(data),
                "seed": seed,
                "training": asdict(training),
                "costs": asdict(costs),
            },
            metrics=_measured(model, temperature, threshold, bags[HELD_OUT], right[HELD_OUT], names, kinds),
        ),
        made,
    )


def check_output(output: str | os.PathLike[str], data: str | os.PathLike[str] | None) -> None:
    """Raises :class:`OutputError` for a folder in which :func:`save` would change the prompts in ``data`` or a bundle;
    cheap enough to ask before the work."""
    for name in (GRAPH, SPEC):
        keep_apart(Path(output) / name, data)
    if os.path.lexists(Path(output) / MANIFEST):
        raise OutputError(
            f"{output}: is a bundle, whose files have fixed hashes; write the router elsewhere and build with --router"
        )


def save(trained: Trained, output: str | os.PathLike[str]) -> None:
    """Writes the pair of files into the folder ``output``, which may hold an older pair, but nothing half-written.

    Raises :class:`OutputError` where that is not possible.
    """
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write a router to {folder} ({error.strerror or error}); name a folder") from error
    # should this stop in between, the hash in the older router.json says that the two do not belong together
    files.write(folder / GRAPH, lambda draft: draft.write_bytes(trained.graph))
    files.write_text(folder / SPEC, trained.model.dumps())


def phrases_sha256() -> str:
    """Of the files that the built-in prompts are made from, in the order of their names."""
    digest = hashlib.sha256()
    templates = [*sorted(ASSETS.glob("prompts/*.txt")), *sorted(ASSETS.glob("more/*.txt"))]
    for path in [*templates, ASSETS / "slots.json", ASSETS / "styles.json"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _names(phrases: Phrases, own: Sequence[Labelled]) -> tuple[str, ...]:
    *built_in, default = phrases.templates
    new = dict.fromkeys(row.category for row in own if row.category not in phrases.templates)
    return (*built_in, *new, default)


def _overrides(names: Sequence[str]) -> dict[str, str]:
    given = load(ASSETS / "overrides.json", ASSET).members()
    return {phrase: name.prose() for phrase, name in given.items() if name.value in names}


def _measured(
    model: Linear,
    temperature: float,
    threshold: float,
    bags: Bags,
    right: NDArray[np.int64],
    names: Sequence[str],
    kinds: Sequence[str],
) -> dict[str, object]:
    """Figures on the held-out phrasings; shares of 1. The threshold of the kinds is the prior's, which a bundle has."""
    logits = model.logits(bags)
    calibrated = softmax(logits, temperature)
    decided = metrics.decide(calibrated, threshold)
    return {
        "held_out_prompts": len(right),
        "accuracy": round(float(np.mean(decided == right)), 4),
        "accuracy_without_threshold": round(metrics.accuracy(logits, right), 4),
        "calibration_error_raw": round(metrics.calibration_error(softmax(logits), right), 4),
        "calibration_error": round(metrics.calibration_error(calibrated, right), 4),
        "categories": metrics.by_category(decided, right, names),
        "kinds": metrics.by_kind(calibrated, metrics.decide(calibrated, PRIOR_THRESHOLD), right, kinds),
    }
