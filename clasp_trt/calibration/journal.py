"""The answers of a calibration that may be interrupted, in a file beside its output.

The first line is an object of what the answers depend on, by hash. Each further line ``[category, candidate, line,
right]`` is one answer: for which row of the policy, by which candidate for it, to the question on which line of the
data, and whether it was right (1) or not (0). A last line that was cut short does not count.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from clasp_trt.errors import OutputError

SUFFIX = ".partial.jsonl"

Key = tuple[int, int, int]
"""Category and candidate by number, and line of the question."""


def journal_path(output: str | os.PathLike[str]) -> Path:
    """Where the answers are kept on the way to ``output``: beside the file that a link leads to."""
    target = Path(os.path.realpath(output))
    return target.with_name(target.name + SUFFIX)


class Journal:
    """Answers by key. Made by :func:`open_journal`."""

    def __init__(self, file: BinaryIO, answers: dict[Key, bool]) -> None:
        self._file, self._answers = file, answers

    def ask(self, key: Key, answer: Callable[[], bool]) -> bool:
        """The answer that is known, or that of ``answer``, which is on disk before this returns."""
        if key not in self._answers:
            right = answer()
            self._file.write(_line([*key, int(right)]))  # unbuffered: at worst the last line is cut short
            self._answers[key] = right
        return self._answers[key]


@contextmanager
def open_journal(path: Path, inputs: Mapping[str, str], *, restart: bool = False) -> Iterator[Journal]:
    """The journal at ``path`` for the block, with the answers of an earlier run on the same ``inputs``.

    ``restart`` drops what is there. Raises :class:`OutputError` if the answers depend on anything else, if another run
    is writing them, or if the file is no such journal. A journal without answers does not outlive the block.
    """
    with path.open("ab+", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{path}: another calibration is writing this; wait for it or choose another output"
            ) from None
        file.seek(0)
        content = b"" if restart else b"".join(iter(lambda: file.read(1 << 20), b""))
        whole = content[: content.rfind(b"\n") + 1]
        head = _line(dict(inputs))
        # without a whole line it must be this head, cut short: a file of another kind is left alone
        answers = {} if head.startswith(content) else _answers(whole or content, inputs, path)
        file.truncate(len(whole))
        if not whole:
            file.write(head)
        try:
            yield Journal(file, answers)
        finally:
            if not answers:
                path.unlink(missing_ok=True)


def _answers(lines: bytes, inputs: Mapping[str, str], path: Path) -> dict[Key, bool]:
    answers: dict[Key, bool] = {}
    try:
        head, *rest = map(json.loads, lines.splitlines())
        for category, candidate, line, right in rest:
            answers[category, candidate, line] = bool(right)
        others = [name for name, value in inputs.items() if head[name] != value]
    except (ValueError, TypeError, KeyError):
        raise OutputError(
            f"{path}: not the answers of a calibration, or damaged; add --restart to begin anew"
        ) from None
    if others:
        raise OutputError(
            f"{path}: holds the answers of a calibration with other {' and '.join(others)}; "
            "repeat that command to go on with it, add --restart to begin anew, or choose another output"
        )
    return answers


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
