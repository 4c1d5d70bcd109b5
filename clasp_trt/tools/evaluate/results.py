"""The answers of a run in a file, so that an interrupted run goes on where it stopped.

A journal (:mod:`clasp_trt.storage.journal`): first a header that says what was asked of which bundle, then an answer a
line, written as soon as it is there. A file goes on only with the same header.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import clasp_trt
from clasp_trt.bundle import MANIFEST, Bundle
from clasp_trt.policy import Policy
from clasp_trt.runtime.routing.folder import RouterSpec
from clasp_trt.storage.fields import Field
from clasp_trt.storage.hashes import file_sha256
from clasp_trt.storage.journal import Lines, Work, open_lines
from clasp_trt.tools.evaluate.answers import Answer
from clasp_trt.tools.evaluate.questions import Question, Questions
from clasp_trt.tools.evaluate.scoring import matches

_WORK = Work("clasp-trt eval", "name another file, or delete this one")


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
        "version": clasp_trt.__version__,
        "bundle": file_sha256(bundle.root / MANIFEST),
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

    def __init__(self, lines: Lines[Answer | None]) -> None:
        self._lines = lines
        self.kept = tuple(answer for answer in lines.found if answer is not None)

    def keep(self, question: Question, answer: Answer) -> None:
        """Appends one answer; what has passed here outlives the process."""
        row = question.row
        self._lines.add(
            {
                "line": row.line,
                "method": answer.method,
                "category": question.counted,
                "asked": question.requested,
                "prompt": row.prompt,
                "answer": row.answer,
                "said": answer.said,
                "right": answer.right,
                "ttft_ms": answer.ttft_ms,
                "visual_tokens": answer.visual_tokens,
            }
        )


@contextmanager
def opened(path: str | os.PathLike[str], wanted: Mapping[str, object], questions: Questions) -> Iterator[Results]:
    """The results at ``path`` for the block, of a run whose :func:`header` is ``wanted``; see
    :func:`clasp_trt.storage.journal.open_lines`."""
    with open_lines(Path(path), wanted, lambda item: _answer(item, questions), _WORK) as lines:
        yield Results(lines)


def _answer(item: Field, questions: Questions) -> Answer | None:
    """One line; None for a row beyond ``--limit``."""
    of = item.open_record("line", "method", "said", "ttft_ms", "visual_tokens")
    line, said = of["line"].integer(1), of["said"].string()
    row = questions.by_line.get(line)
    if row is None:
        return None
    tokens = of["visual_tokens"].integer(0)
    return Answer(line, of["method"].text(), said, matches(said, row.answer), of["ttft_ms"].number(), tokens)
