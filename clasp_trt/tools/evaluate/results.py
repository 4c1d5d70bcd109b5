"""The answers of a run in a file, so that an interrupted run goes on where it stopped.

JSON lines: first a header that says what was asked of which bundle, then an answer a line, written as soon as it is
there. A file goes on only with the same header.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import clasp_trt
from clasp_trt.bundle import MANIFEST, Bundle
from clasp_trt.errors import DataError, OutputError
from clasp_trt.policy import Policy
from clasp_trt.runtime.routing.folder import RouterSpec
from clasp_trt.tools.evaluate.evaluate import Answer
from clasp_trt.tools.evaluate.questions import Question, Questions
from clasp_trt.tools.evaluate.scoring import matches

KIND = "clasp-trt eval"
_ANSWER = {"line": int, "method": str, "said": str, "ttft_ms": float}


def header(
    bundle: Bundle,
    policy: Policy,
    questions: Questions,
    methods: Sequence[str],
    *,
    max_new_tokens: int,
    route: bool,
    router: str | os.PathLike[str] | None = None,
    provider: str | None = None,
) -> dict[str, object]:
    """All that decides the answers; bundle, policy, data and the folder ``router`` by their SHA-256, and ``provider``
    if one was chosen."""
    chosen = {} if provider is None else {"provider": provider}
    return {
        "results": KIND,
        "version": clasp_trt.__version__,
        "bundle": hashlib.sha256((bundle.root / MANIFEST).read_bytes()).hexdigest(),
        "policy": hashlib.sha256(policy.dumps().encode()).hexdigest(),
        "data": questions.sha256,
        "methods": sorted(methods),
        "max_new_tokens": max_new_tokens,
        "route": route,
        "router": None if router is None else RouterSpec.read(router).sha256,
        **chosen,
    }


class Results:
    """An open file of answers: those that it held are ``kept``, :meth:`keep` adds one."""

    def __init__(self, descriptor: int, kept: tuple[Answer, ...], header: bytes) -> None:
        """``header`` goes before the first answer; empty if the file has one."""
        self._descriptor = descriptor
        self._header = header
        self.kept = kept

    def keep(self, question: Question, answer: Answer) -> None:
        """Appends one answer; what has passed here outlives the process."""
        row = question.row
        line = {
            "line": row.line,
            "method": answer.method,
            "category": question.counted,
            "asked": question.requested,
            "prompt": row.prompt,
            "answer": row.answer,
            "said": answer.said,
            "right": answer.right,
            "ttft_ms": answer.ttft_ms,
        }
        rest = memoryview(self._header + _line(line))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._header = b""


@contextmanager
def opened(path: str | os.PathLike[str], wanted: Mapping[str, object], questions: Questions) -> Iterator[Results]:
    """The results at ``path`` for the block; with the first answer a new file begins with the header ``wanted``.

    Raises:
        OutputError: the file cannot be written, is no file of results, or another process writes it.
        DataError: it holds the answers of another run, or is damaged.
    """
    place = os.fspath(path)
    try:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise OutputError(f"{place}: cannot be written ({error.strerror}); name a file to make") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OutputError(f"{place}: not a regular file; name a file to make")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(f"{place}: another run is writing to it; wait for it, or name another file") from None
        yield _resume(descriptor, Path(place), wanted, questions)
    finally:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and not status.st_size:
            Path(place).unlink(missing_ok=True)
        os.close(descriptor)


def _resume(descriptor: int, path: Path, wanted: Mapping[str, object], questions: Questions) -> Results:
    """What an earlier run left. The line that it was killed in is cut off."""
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if not end and not _line(wanted).startswith(data):
        raise OutputError(f"{path}: already there, and no results of {KIND}; name another file")
    first, *lines = data[:end].splitlines() or [b""]
    if end:
        _check_header(path, first, wanted)
    found = [_answer(f"{path}:{number}", line, questions) for number, line in enumerate(lines, start=2)]
    if end < len(data):
        os.ftruncate(descriptor, end)
    return Results(descriptor, tuple(answer for answer in found if answer is not None), b"" if end else _line(wanted))


def _check_header(path: Path, first: bytes, wanted: Mapping[str, object]) -> None:
    try:
        found = json.loads(first)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("results") != KIND:
        raise OutputError(f"{path}: already there, and no results of {KIND}; name another file")
    if other := [key for key in wanted if found.get(key) != wanted[key]]:
        raise DataError(
            f"{path}: holds the answers of another run, with another {', '.join(other)}; "
            "name another file, or delete this one"
        )


def _answer(place: str, line: bytes, questions: Questions) -> Answer | None:
    """One line; None for a row beyond ``--limit``."""
    try:
        found = json.loads(line)
        line_number, method, said, ttft_ms = (kind(found[key]) for key, kind in _ANSWER.items())
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DataError(f"{place}: not an answer that {KIND} wrote; delete the file to begin again") from None
    row = questions.by_line.get(line_number)
    return None if row is None else Answer(line_number, method, said, matches(said, row.answer), ttft_ms)


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
