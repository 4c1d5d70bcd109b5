"""A few generated questions and a loaded bundle to ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.runtime.pipeline import Pipeline
from clasp_trt.tools.evaluate import Questions


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, with one question in each category that they have."""
    from examples.shapesvqa.generate import generate

    folder = tmp_path_factory.mktemp("shapes") / "data"
    generate(folder, split="test", images=2, seed=0, size=56)
    return folder / "D.jsonl"


@pytest.fixture(scope="session")
def questions(data: Path) -> Questions:
    return Questions.read(data)


@pytest.fixture(scope="session")
def pipeline(built: Callable[..., Bundle]) -> Pipeline:
    from clasp_trt.runtime.pipeline import load

    return load(built().root, threads=1)
