"""Requests of one step in decoders that are told more than the fill of their caches: what each row sees, within
windows, and positions on three axes, each request's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clasp_trt.runtime.engine import open_engine
from clasp_trt.runtime.pipeline import load
from clasp_trt.speculation import MOST
from clasp_trt.tools.build.compiler import build
from examples import random_gemma, random_qwen
from tests.oracle import Oracle

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("tracer")]  # towers are traced
LENGTHS = (20, 5, 14, 3, 17)  # more than a window, so that rows of the prompt leave it
PLAIN = 1  # the request for which none is proposed
QUESTION = "What is the animal doing?"


def gemma(preset: str) -> Callable[[Path], object]:
    return lambda folder: random_gemma.make(folder, random_gemma.PRESETS[preset])


def qwen(preset: str) -> Callable[[Path], object]:
    return lambda folder: random_qwen.make(folder, random_qwen.PRESETS[preset])


@pytest.mark.parametrize(
    "make",
    [gemma("tiny-gemma3"), qwen("tiny-qwen3")],
    ids=["blocks and windows", "three axes and additions"],
)
def test_answers_are_those_of_a_request_alone(
    make: Callable[[Path], object], tmp_path: Path, photos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not tokens are proposed, right ones and wrong ones."""
    make(tmp_path / "model")
    bundle = build(tmp_path / "model", tmp_path / "bundle", max_context=200)
    wishes: list[dict[str, Any]] = [
        {"max_new_tokens": length, "ignore_stop": True, "logprobs": True} for length in LENGTHS
    ]
    pictures = [photos["chelsea"], None, photos["coffee"], photos["astronaut"], photos["chelsea"]]
    with load(bundle.root, threads=1) as alone:
        expected = [alone.generate(picture, QUESTION, **each) for picture, each in zip(pictures, wishes, strict=True)]
    oracles = iter([Oracle(each.token_ids, number) for number, each in enumerate(expected) if number != PLAIN])
    monkeypatch.setattr("clasp_trt.runtime.steps.Lookup", lambda prompt, most: next(oracles))
    wishes = [{**each, "lookup": 0 if number == PLAIN else MOST} for number, each in enumerate(wishes)]
    with open_engine(bundle.root, slots=3, threads=1) as engine:
        requests = [engine.submit(picture, QUESTION, **each) for picture, each in zip(pictures, wishes, strict=True)]
        found = [request.result for request in requests]
    for one, other in zip(found, expected, strict=True):
        assert one.token_ids == other.token_ids
        # layers in float32, of which each may lose a few of 24 bits to another order of summation
        np.testing.assert_allclose(one.logprobs, other.logprobs, rtol=0, atol=1e-5)
    assert found[0].speculation is not None
    assert found[0].speculation.tokens_per_step > 1
