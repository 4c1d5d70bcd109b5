"""Files of prompts: a prompt a line, or JSON lines ``{"prompt": ..., "category": ...}`` with the category optional."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from clasp_trt.errors import DataError
from clasp_trt.tools.evaluate.dataset import MAX_LINE_BYTES, objects, text

JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Prompt:
    """A prompt, the category that somebody gave it (None: nobody did) and its line in the file, from 1."""

    text: str
    category: str | None
    line: int


def read_prompts(path: str | os.PathLike[str]) -> tuple[Prompt, ...]:
    """The prompts of a file, at least one.

    Of a name that ends in ``.jsonl`` the lines are JSON objects, whose other keys are ignored, so that the questions of
    ``eval`` and the labels of ``router label`` can be read; of any other name they are prompts, blank ones left out.
    Raises :class:`DataError`.
    """
    name = os.fspath(path)
    try:
        found = _rows(path) if name.endswith(JSON_LINES) else _texts(Path(path), name)
    except OSError as error:
        raise DataError(
            f"{name}: cannot be read ({error.strerror or type(error).__name__}); expected a file with a prompt a line, "
            "or JSON lines in a file called .jsonl"
        ) from None
    if not found:
        raise DataError(f"{name} is empty; expected a prompt a line, or JSON lines in a file called .jsonl")
    return tuple(found)


def check_categories(prompts: tuple[Prompt, ...], name: str, categories: tuple[str, ...]) -> None:
    """Raises :class:`DataError` for the first category that is none of ``categories``."""
    for prompt in prompts:
        if prompt.category is not None and prompt.category not in categories:
            raise DataError(
                f"{name}:{prompt.line}: category {prompt.category!r} is not in the policy; "
                f"expected one of: {', '.join(categories)}"
            )


def _rows(path: str | os.PathLike[str]) -> list[Prompt]:
    found = []
    for line, members in objects(path):
        place = f"{os.fspath(path)}:{line}"
        category = text(members, "category", place) if members.get("category") is not None else None
        found.append(Prompt(text(members, "prompt", place), category, line))
    return found


def _texts(path: Path, name: str) -> list[Prompt]:
    found = []
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), start=1):
            if len(line) > MAX_LINE_BYTES:
                raise DataError(f"{name}:{number}: longer than {MAX_LINE_BYTES >> 20} MiB; expected a prompt a line")
            try:
                prompt = line.decode("utf-8").strip()
            except UnicodeDecodeError as error:
                raise DataError(f"{name}:{number}: byte {error.start} is not UTF-8; expected a prompt a line") from None
            if prompt:
                found.append(Prompt(prompt, None, number))
    return found
