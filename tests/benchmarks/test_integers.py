"""The benchmark of products with rounded weights runs, and each form is what it is called."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.integers import FORMS, ROWS, measure, session


def test_every_form_is_measured() -> None:
    found = measure(inputs=64, outputs=32, rounds=1, threads=1)
    assert set(found) == set(FORMS)
    assert all(set(times) == set(ROWS) and min(times.values()) > 0 for times in found.values())


def test_forms_are_near_the_floats(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(1, 4, 64)).astype(np.float32)
    floats, *others = (session(form, 64, 32, tmp_path, 1).run(None, {"x": x})[0] for form in FORMS)
    errors = [np.abs(each - floats).mean() / np.abs(floats).mean() for each in others]
    assert 0.05 < errors[0] < 0.2
    assert 0.05 < errors[1] < 0.2
    assert 0 < errors[2] < 0.03
