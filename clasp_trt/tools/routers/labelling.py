"""Labels a file of prompts with a language model; an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence

import clasp_trt
from clasp_trt.progress import Progress, silent
from clasp_trt.storage import files
from clasp_trt.storage.apart import keep_apart
from clasp_trt.storage.fields import Field
from clasp_trt.storage.hashes import file_sha256
from clasp_trt.storage.journal import Work, journal_path, open_lines
from clasp_trt.tools.routers.prompt_files import Prompt, read_prompts

_DIGITS = 6
_WORK = Work("clasp-trt router label", "add --restart to begin anew, or choose another output")


def label(
    model: str,
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    categories: Sequence[str],
    definitions: Mapping[str, str],
    *,
    device: str = "cpu",
    force: bool = False,
    restart: bool = False,
    progress: Progress = silent,
) -> Mapping[str, int]:
    """Writes the prompts of ``data`` with the categories that ``model`` gives them to ``output``.

    Each line is ``{"prompt", "category", "confidence"}``, in the order of ``data``. Labels are kept beside ``output``
    until all are there; interrupted, the same call goes on from there, unless ``restart`` begins anew.
    Equal inputs give equal bytes on one machine. ``definitions`` say in a line what a category is for; ``force``
    replaces an older file.

    Returns how many prompts each category got, in the order of ``categories``. Raises a
    :class:`clasp_trt.errors.ClaspError`.
    """
    target = files.check(output, force=force)
    keep_apart(target, data, model)
    prompts = read_prompts(data)
    from clasp_trt.tools.routers.language_model import LanguageModel, fingerprint, task

    inputs = {
        "version": clasp_trt.__version__,
        "model": fingerprint(model),
        "data": file_sha256(data),
        "categories": hashlib.sha256(task("", categories, definitions).encode()).hexdigest(),
    }
    with open_lines(journal_path(target), inputs, _Row.read, _WORK, restart=restart) as lines:
        found = {row.line: row for row in lines.found}
        progress("label", len(found), len(prompts))
        waiting = [prompt for prompt in prompts if prompt.line not in found]
        if waiting:
            judge = LanguageModel.load(model, categories, definitions, device=device)
        for prompt in waiting:
            row = _Row.of(prompt, categories, judge.probabilities(prompt.text))
            lines.add([row.line, row.category, row.confidence])
            found[row.line] = row
            progress("label", len(found), len(prompts))
        files.write_text(target, "".join(found[prompt.line].text(prompt) for prompt in prompts))
        journal_path(target).unlink()
    counts = Counter(row.category for row in found.values())
    return {name: counts[name] for name in categories}


class _Row:
    """A label: ``confidence`` is the model's share for the category, rounded, so that it is short to write."""

    def __init__(self, line: int, category: str, confidence: float) -> None:
        self.line, self.category, self.confidence = line, category, confidence

    @classmethod
    def of(cls, prompt: Prompt, categories: Sequence[str], probabilities: Sequence[float]) -> _Row:
        best = max(range(len(categories)), key=lambda index: probabilities[index])
        return cls(prompt.line, categories[best], round(probabilities[best], _DIGITS))

    @classmethod
    def read(cls, item: Field) -> _Row:
        parts = item.elements()
        if len(parts) != 3:
            item.fail("line, category and confidence")
        return cls(parts[0].integer(1), parts[1].prose(), parts[2].number())

    def text(self, prompt: Prompt) -> str:
        row = {"prompt": prompt.text, "category": self.category, "confidence": self.confidence}
        return json.dumps(row, ensure_ascii=False) + "\n"
