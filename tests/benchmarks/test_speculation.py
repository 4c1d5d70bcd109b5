"""The benchmark of proposed tokens: what it asks for, and what it tells of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks import speculation
from clasp_trt.bundle import Bundle
from clasp_trt.runtime.pipeline import load


def test_ways_of_answering_are_told_apart(built: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculation, "PROMPT", "Say: the red cup stands on the red table")
    with load(built().root, threads=1) as pipe:
        rows = speculation.measure(pipe, "the red cup stands", (0, 3), rounds=1)
    assert (rows[0].tokens_per_step, rows[0].accepted) == (1, 0)
    assert rows[3].tokens_per_step > 1.2
    assert 0 < rows[3].accepted <= 1
    assert rows[0].ms > 0


def test_a_form_quotes_the_passage() -> None:
    assert all(phrase in speculation.PASSAGE for phrase in speculation.PHRASES)
    assert not any(heading in speculation.PROMPT for heading in speculation.HEADINGS)
