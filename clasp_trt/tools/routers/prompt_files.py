"""Files of prompts: a prompt a line, or JSON lines ``{"prompt": ..., "category": ...}`` with the category optional."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from clasp_trt.errors import DataError
from clasp_trt.storage.fields import Format
from clasp_trt.storage.lines import json_lines, lines

JSON_LINES = (".jsonl", ".ndjson")

_FORMAT = Format(DataError, DataError, "expected a prompt a line, or JSON lines with prompt in a file called .jsonl")


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
    found = tuple(_rows(path) if name.endswith(JSON_LINES) else _texts(path))
    if not found:
        raise DataError(f"{name} is empty; {_FORMAT.cure}")
    return found


def check_categories(prompts: tuple[Prompt, ...], name: str, categories: tuple[str, ...]) -> None:
    """Raises :class:`DataError` for the first category that is none of ``categories``."""
    for prompt in prompts:
        if prompt.category is not None and prompt.category not in categories:
            raise DataError(
                f"{name}:{prompt.line}: category {prompt.category!r} is not in the policy; "
                f"expected one of: {', '.join(categories)}"
            )


def _rows(path: str | os.PathLike[str]) -> Iterator[Prompt]:
    for number, item in json_lines(path, _FORMAT):
        of = item.open_record("prompt")
        category = of.get("category")
        named = None if category is None or category.value is None else category.prose()
        yield Prompt(of["prompt"].prose(), named, number)


def _texts(path: str | os.PathLike[str]) -> Iterator[Prompt]:
    for place, number, line in lines(path, _FORMAT):
        try:
            prompt = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{place}: byte {error.start} is not UTF-8; {_FORMAT.cure}") from None
        if prompt:
            yield Prompt(prompt, None, number)
