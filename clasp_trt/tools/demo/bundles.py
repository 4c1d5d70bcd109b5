"""The demo's bundles: one checkpoint unpruned and at some budgets, built once for each checkpoint and version."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import clasp_trt
from clasp_trt.bundle import Bundle
from clasp_trt.errors import BundleError
from clasp_trt.extras import require
from clasp_trt.progress import Progress
from clasp_trt.published import scaled_keeps
from clasp_trt.storage import files
from clasp_trt.storage.hashes import file_sha256
from clasp_trt.tools.build.compiler import Options, Pruning, compile_bundle
from clasp_trt.tools.demo import shipped

UNPRUNED = "unpruned"
NOMINAL: Mapping[str, int] = {"third": 192, "ninth": 64}
"""Names of the default bundles, and the published budget of 576 tokens whose stages they scale."""

RECORD = "made-of.json"
_EXPORT = ("huggingface_hub", "ml_dtypes", "onnx", "onnx_ir", "onnxscript", "safetensors", "torch", "transformers")


@dataclass(frozen=True)
class Built:
    """The bundles by name, the unpruned one first, and whether any was built just now."""

    bundles: Mapping[str, Bundle]
    fresh: bool


def bundles(checkpoint: Path, folder: Path, budgets: Sequence[int], progress: Progress) -> Built:
    """The bundles of ``checkpoint`` in ``folder``: built there, or those of an earlier run if they are the same.

    ``budgets`` are mean numbers of visual tokens over the decoder's layers; without any, the stages are those of
    :data:`NOMINAL`. The pruned bundles use the ``policy.json`` in the checkpoint's folder if there is one; the unpruned
    one is the checkpoint as it was trained. Raises a :class:`clasp_trt.errors.ClaspError` for what cannot be built.
    """
    made_of = _fingerprint(checkpoint, budgets)
    found = _earlier(folder, made_of, budgets)
    if found is not None:
        return Built(found, fresh=False)
    require("building the demo's bundles", _EXPORT, "export")
    (folder / RECORD).unlink(missing_ok=True)  # until all are built, the folder vouches for none
    baseline = compile_bundle(
        checkpoint, folder / UNPRUNED, Options(Pruning("none")), target="cpu", force=True, progress=progress
    ).bundle
    made = {UNPRUNED: baseline}
    for name, pruning in _prunings(budgets, baseline.manifest.schedule.tokens).items():
        options = Options(pruning, policy=shipped.policy(checkpoint))
        built = compile_bundle(checkpoint, folder / name, options, target="cpu", force=True, progress=progress)
        made[name] = built.bundle
    files.write_text(folder / RECORD, made_of)
    return Built(made, fresh=True)


def names(budgets: Sequence[int]) -> tuple[str, ...]:
    """What the bundles are called, the unpruned one first."""
    return (UNPRUNED, *(f"budget-{budget}" for budget in budgets)) if budgets else (UNPRUNED, *NOMINAL)


def _prunings(budgets: Sequence[int], tokens: int) -> dict[str, Pruning]:
    """How each pruned bundle prunes, by its name."""
    if budgets:
        asked = [Pruning(budget=budget) for budget in budgets]
    else:
        asked = [Pruning(keeps=scaled_keeps(published, tokens)) for published in NOMINAL.values()]
    return dict(zip(names(budgets)[1:], asked, strict=True))


def _earlier(folder: Path, made_of: str, budgets: Sequence[int]) -> dict[str, Bundle] | None:
    """The bundles of an earlier run, if they were made of the same and are whole."""
    try:
        if (folder / RECORD).read_text(encoding="utf-8") != made_of:
            return None
        return {name: Bundle.open(folder / name) for name in names(budgets)}
    except (OSError, UnicodeDecodeError, BundleError):
        return None


def _fingerprint(checkpoint: Path, budgets: Sequence[int]) -> str:
    """Everything that the bundles follow from, as JSON: the version, the budgets, every file of the checkpoint."""
    files = sorted(path for path in checkpoint.iterdir() if path.is_file())
    hashes = {path.name: file_sha256(path) for path in files}
    record = {"clasp-trt": clasp_trt.__version__, "budgets": list(budgets), "checkpoint": hashes}
    return json.dumps(record, indent=1) + "\n"
