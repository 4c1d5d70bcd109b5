"""A user's own labelled prompts: a JSON-lines file with a row ``{"prompt", "category"}`` a line."""

from __future__ import annotations

import os

from clasp_trt.errors import DataError
from clasp_trt.tools.routers.prompt_files import read_prompts
from clasp_trt.tools.routers.prompts import Labelled


def read(path: str | os.PathLike[str]) -> tuple[Labelled, ...]:
    """Every row of a file, in its order; at least one. What ``router label`` writes can be read.

    Raises :class:`DataError`, which begins with ``file:line`` where the fault is in one.
    """
    found = []
    for prompt in read_prompts(path):
        if prompt.category is None or not prompt.category.strip():
            raise DataError(
                f'{os.fspath(path)}:{prompt.line}: has no category; expected {{"prompt": "...", "category": "..."}} '
                "on each line of a .jsonl file"
            )
        found.append(Labelled(prompt.text, prompt.category, prompt.text, prompt.text))
    return tuple(found)
