"""What a run has found so far, in a file, so that an interrupted run goes on where it stopped.

JSON lines: the first is an object that says which command found what follows, and what the findings depend on; each
further line is one finding. A last line that was cut short does not count.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from clasp_trt.errors import ClaspError, OutputError
from clasp_trt.storage.fields import Field, Format, parse

SUFFIX = ".partial.jsonl"
_KIND = "results"  # the key of the first line by which a journal is told from other files

Finding = TypeVar("Finding")


@dataclass(frozen=True)
class Work:
    """What errors say about a journal: the ``command`` that writes it, and in ``cure`` what to do about a file that
    holds anything else."""

    command: str
    cure: str


def journal_path(output: str | os.PathLike[str]) -> Path:
    """Where findings are kept on the way to ``output``: beside the file that a link leads to."""
    target = Path(os.path.realpath(output))
    return target.with_name(target.name + SUFFIX)


class Lines(Generic[Finding]):
    """The findings of earlier runs, ``found``, and a place for more. Made by :func:`open_lines`."""

    def __init__(self, descriptor: int, found: tuple[Finding, ...]) -> None:
        self._descriptor, self.found, self.empty = descriptor, found, not found

    def add(self, value: object) -> None:
        """One finding as JSON; it outlives the process once this returns."""
        _write(self._descriptor, value)
        self.empty = False


@contextmanager
def open_lines(
    path: Path,
    inputs: Mapping[str, object],
    read: Callable[[Field], Finding],
    work: Work,
    *,
    restart: bool = False,
) -> Iterator[Lines[Finding]]:
    """The journal at ``path`` for the block, with what an earlier run found from the same ``inputs``.

    ``read`` makes a finding of one line's JSON; ``restart`` drops what is there. Raises :class:`OutputError` if the
    file cannot be written, if its findings depend on anything else, if another run is writing them, or if it is no such
    journal; it is then left as it was. A journal without findings does not outlive the block.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); name a file to make") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OutputError(f"{path}: not a regular file; name a file to make")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(
                f"{path}: another run of {work.command} is writing to it; wait for it, or choose another output"
            ) from None
        content = b"" if restart else path.read_bytes()
        head = {_KIND: work.command, **inputs}
        whole = content[: content.rfind(b"\n") + 1]
        # without a whole line it must be this head, cut short: a file of another kind is left alone
        begun = not whole and _line(head).startswith(content)
        lines = Lines(descriptor, () if begun else _read(whole or content, head, read, path, work))
        os.ftruncate(descriptor, len(whole))
        if not whole:
            _write(descriptor, head)
        try:
            yield lines
        finally:
            if lines.empty:
                path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


class _Damage(ClaspError):
    """A line that no run wrote."""


def _read(
    content: bytes, wanted: Mapping[str, object], read: Callable[[Field], Finding], path: Path, work: Work
) -> tuple[Finding, ...]:
    format = Format(_Damage, _Damage, f"expected what {work.command} wrote")
    first, *rest = content.splitlines()
    try:
        members = parse(first, str(path), format).open_record(_KIND)
        members[_KIND].one_of((work.command,))
        head = {key: item.value for key, item in members.items()}
        if others := [key for key in {**wanted, **head} if head.get(key) != wanted.get(key)]:
            raise OutputError(
                f"{path}: holds the answers of {work.command} with other {' and '.join(others)}; "
                f"repeat that command to go on with it, or {work.cure}"
            )
        return tuple(read(parse(line, f"{path}:{number}", format)) for number, line in enumerate(rest, start=2))
    except _Damage as error:
        raise OutputError(f"{error}; {work.cure}") from None


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _write(descriptor: int, value: object) -> None:
    rest = memoryview(_line(value))
    while rest:
        rest = rest[os.write(descriptor, rest) :]
