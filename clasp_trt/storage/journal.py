"""What an interrupted run has found so far, in a file beside its output.

JSON lines: the first is an object of what the findings depend on, by hash; each further line is one finding. A last
line that was cut short does not count.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from clasp_trt.errors import OutputError

SUFFIX = ".partial.jsonl"

Finding = TypeVar("Finding")


def journal_path(output: str | os.PathLike[str]) -> Path:
    """Where findings are kept on the way to ``output``: beside the file that a link leads to."""
    target = Path(os.path.realpath(output))
    return target.with_name(target.name + SUFFIX)


class Lines(Generic[Finding]):
    """The findings of earlier runs, ``found``, and a place for more. Made by :func:`open_lines`."""

    def __init__(self, file: BinaryIO, found: list[Finding]) -> None:
        self._file, self.found, self.empty = file, found, not found

    def add(self, value: object) -> None:
        """One finding as JSON, on disk before this returns."""
        self._file.write(_line(value))  # unbuffered: at worst the last line is cut short
        self.empty = False


@contextmanager
def open_lines(
    path: Path,
    inputs: Mapping[str, str],
    parse: Callable[[object], Finding],
    *,
    work: str,
    restart: bool = False,
) -> Iterator[Lines[Finding]]:
    """The journal at ``path`` for the block, with what an earlier run found from the same ``inputs``.

    ``parse`` takes one line's JSON, and raises ``ValueError``, ``TypeError`` or ``KeyError`` for what is no finding.
    ``work`` is what errors call the run, such as ``calibration``; ``restart`` drops what is there. Raises
    :class:`OutputError` if the findings depend on anything else, if another run is writing them, or if the file is no
    such journal. A journal without findings does not outlive the block.
    """
    with path.open("ab+", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"{path}: another {work} is writing this; wait for it or choose another output") from None
        file.seek(0)
        content = b"" if restart else b"".join(iter(lambda: file.read(1 << 20), b""))
        whole = content[: content.rfind(b"\n") + 1]
        head = _line(dict(inputs))
        # without a whole line it must be this head, cut short: a file of another kind is left alone
        found = [] if head.startswith(content) else _parsed(whole or content, inputs, parse, path, work)
        file.truncate(len(whole))
        if not whole:
            file.write(head)
        lines = Lines(file, found)
        try:
            yield lines
        finally:
            if lines.empty:
                path.unlink(missing_ok=True)


def _parsed(
    content: bytes, inputs: Mapping[str, str], parse: Callable[[object], Finding], path: Path, work: str
) -> list[Finding]:
    try:
        head, *rest = map(json.loads, content.splitlines())
        found = [parse(value) for value in rest]
        others = [name for name, value in inputs.items() if head[name] != value]
    except (ValueError, TypeError, KeyError):
        raise OutputError(f"{path}: not the answers of a {work}, or damaged; add --restart to begin anew") from None
    if others:
        raise OutputError(
            f"{path}: holds the answers of a {work} with other {' and '.join(others)}; "
            "repeat that command to go on with it, add --restart to begin anew, or choose another output"
        )
    return found


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
