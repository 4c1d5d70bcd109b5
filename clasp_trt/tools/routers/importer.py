"""A Hugging Face text classifier becomes a router of kind ``classifier``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clasp_trt.errors import RouterError
from clasp_trt.progress import Progress, silent
from clasp_trt.runtime.routing.classifier import GRAPH, KIND, MAX_TOKENS, TOKENIZER, graph_of, load
from clasp_trt.runtime.routing.folder import SCHEMA, SPEC, RouterSpec
from clasp_trt.storage.apart import keep_apart
from clasp_trt.tools.routers.folder import router_folder

if TYPE_CHECKING:
    from clasp_trt.export.classifier import Classifier

DEFAULT_MAX_TOKENS = 128
"""Both ends of a prompt, 64 tokens each: a question is seldom longer, and time grows with it."""

TOLERANCE = 1e-3
"""Largest difference of a probability between torch and the graph, both float32; what was measured is below 1e-6."""


def import_classifier(
    model: str,
    output: str | os.PathLike[str],
    categories: Sequence[str],
    *,
    mapping: Mapping[str, str] | None = None,
    max_tokens: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> RouterSpec:
    """Exports the text classifier ``model``, a folder or hub id, into the router folder ``output``.

    Args:
        categories: the policy's names in order, the last of them Default.
        mapping: label to category; a label that is a category's name need not be there.
        max_tokens: longest prompt that the router reads whole (default: 128, or what the model takes if that is less).
        force: replace an older router at ``output``.
        progress: hears a phase, steps done and steps in all.

    Raises:
        RouterError: a label without a category, an unknown label or category, a graph that deviates from the model.
        CheckpointError: ``model`` is no text classifier.
        OutputError: ``output`` cannot be written.
    """
    from clasp_trt.export.classifier import Classifier

    keep_apart(output, model)
    with router_folder(output, force=force) as staged:
        progress("open the classifier", 0, 3)
        classifier = Classifier.open(model)
        labels = _categories_of(classifier.labels, categories, mapping or {})
        limit = min(classifier.max_tokens, MAX_TOKENS)
        if max_tokens is not None and not 1 <= max_tokens <= limit:
            raise RouterError(f"--max-tokens {max_tokens} is out of range; this model takes 1 to {limit}")
        length = max_tokens or min(DEFAULT_MAX_TOKENS, limit)
        spec = {
            "schema": SCHEMA,
            "kind": KIND,
            "categories": list(categories),
            "labels": labels,
            "max_tokens": length,
            "source": classifier.checkpoint.name,
        }
        (staged / SPEC).write_text(json.dumps(spec, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (staged / TOKENIZER).write_bytes((classifier.checkpoint.root / "tokenizer.json").read_bytes())
        progress("export", 1, 3)
        classifier.save(staged / GRAPH)
        progress("compare", 2, 3)
        load(RouterSpec.read(staged), threshold=0.0)  # which does what a first request would
        _compare(classifier, staged, len(labels), length)
    return RouterSpec.read(output)


def _categories_of(labels: Sequence[str], categories: Sequence[str], mapping: Mapping[str, str]) -> list[str]:
    """The category of each label."""
    for label, category in mapping.items():
        if label not in labels:
            raise RouterError(f"--map {label}={category}: the model has no such label; it has {', '.join(labels)}")
        if category not in categories:
            raise RouterError(f"--map {label}={category}: there is no such category; there are {', '.join(categories)}")
    found = {label: mapping.get(label, label) for label in labels}
    if lost := [label for label, category in found.items() if category not in categories]:
        raise RouterError(
            f"the labels {', '.join(lost)} are no categories; say with --map 'LABEL=CATEGORY' for each what it stands "
            f"for, of {', '.join(categories)}"
        )
    return list(found.values())


def _compare(classifier: Classifier, folder: Path, labels: int, max_tokens: int) -> None:
    """Runs the graph beside torch on texts of several lengths, as the tracer may have taken a length for a constant."""
    import torch

    from clasp_trt.runtime.backends.ort import OrtBackend
    from clasp_trt.runtime.text.tokenizer import Tokenizer

    known = Tokenizer.from_file(folder / TOKENIZER).size
    if known > classifier.vocabulary:
        raise RouterError(
            f"the tokenizer knows {known} tokens, but the model {classifier.vocabulary}; they do not belong together"
        )
    backend = OrtBackend(threads=1)
    runner = backend.load(folder / GRAPH, graph_of(labels))
    generator = np.random.default_rng(0)
    for tokens in sorted({1, min(2, max_tokens), (max_tokens + 1) // 2, max_tokens}):
        ids = generator.integers(classifier.vocabulary, size=(1, tokens), dtype=np.int64)
        ours = backend.download(runner({"input_ids": backend.upload(ids)}, {})["logits"])
        theirs = classifier.logits(torch.from_numpy(ids)).numpy()
        deviation = float(np.abs(_softmax(ours) - _softmax(theirs)).max())
        if not deviation <= TOLERANCE:
            raise RouterError(
                f"the exported graph deviates from the model by {deviation:.2g} in a probability of a text of {tokens} "
                "tokens; its architecture cannot be exported"
            )


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max())
    total: NDArray[np.float64] = shares / shares.sum()
    return total
