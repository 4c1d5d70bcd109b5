"""The checks of engines and answers, on the one backend that runs without a GPU: what is right passes, faults show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import clasp_trt
from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends.ort import OrtBackend
from clasp_trt.targets import TARGETS
from tests.gpu.harness import engines, families
from tests.gpu.harness.environment import Environment

H200 = Environment("NVIDIA H200", "9.0", "13.0", "580", 150.0, 60.0, 132)


def test_answers_of_a_bundle_against_itself(built: Callable[..., Bundle]) -> None:
    engines.check_answers(built().root, built().root, new_tokens=3)


def test_answers_about_several_pictures_against_themselves(built: Callable[..., Bundle]) -> None:
    several = built(max_images=2, budget="1/3", max_context=160).root
    engines.check_answers(several, several, new_tokens=2, shown=([engines.PHOTO, engines.PHOTO], engines.PHOTO))


def test_answers_that_differ_show(built: Callable[..., Bundle]) -> None:
    with clasp_trt.load(built().root) as pipeline:
        answer = pipeline.generate(engines.PHOTO, "What is it?", max_new_tokens=3, ignore_stop=True)
    engines.check_same(answer, answer)
    first, *rest = answer.kept
    for other in (
        replace(answer, token_ids=(*answer.token_ids[:-1], answer.token_ids[-1] + 1)),
        replace(answer, kept=(replace(first, indices=first.indices[::-1]), *rest)),
        replace(answer, kept=(replace(first, is_pivot=~first.is_pivot), *rest)),
    ):
        with pytest.raises(AssertionError):
            engines.check_same(other, answer)


@pytest.mark.parametrize("pivots", [0, 3, 7])
def test_a_prune_graph_keeps_what_the_reference_keeps(built: Callable[..., Bundle], pivots: int) -> None:
    engines.check_prune_graph(built(), "prune_0", 16, 7, pivots)


@pytest.mark.parametrize("tokens", [16, 32])
def test_the_stages_of_a_request_keep_what_the_reference_keeps(built: Callable[..., Bundle], tokens: int) -> None:
    engines.check_prunes(built(max_images=2, budget="1/3", max_context=160), tokens)


def test_requests_of_any_shape_are_of_different_numbers_of_tokens(varying: Bundle) -> None:
    assert families.check_shapes(varying.root, new_tokens=2) == {0, 4, 9, 20, 24}


class Mistaken(OrtBackend):
    """Takes the least salient tokens for the most salient ones."""

    def upload(self, array: NDArray[Any]) -> Any:
        is_saliency = array.dtype == np.float32 and array.ndim == 2
        return super().upload(-array if is_saliency else array)


def test_a_prune_graph_that_keeps_something_else_shows(
    built: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "backend_for", lambda bundle: Mistaken())
    with pytest.raises(AssertionError):
        engines.check_prune_graph(built(), "prune_0", 16, 7, 3)


def test_logits_of_a_prompt_and_of_what_follows(built: Callable[..., Bundle]) -> None:
    long = engines.logits(built(), (11, 200))
    assert long.shape == (3, 512)
    np.testing.assert_array_equal(engines.logits(built(), (11, 81))[:2], long[:2])


def test_half_precision_is_held_to_that_of_another_run() -> None:
    exact = np.random.default_rng(0).standard_normal((3, 50)).astype(np.float32)
    half = exact.astype(np.float16).astype(np.float32)
    assert 0 < engines.half_precision_check(half, half, exact) < 1e-3
    with pytest.raises(AssertionError, match="from float32"):
        engines.half_precision_check(exact + 4 * (half - exact), half, exact)
    with pytest.raises(AssertionError):
        engines.half_precision_check(np.full_like(half, np.nan), half, exact)


def test_a_library_is_looked_for_by_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"tensorrt"}

    def load(backend: str) -> None:
        if backend not in installed:
            raise BackendError("not installed")

    monkeypatch.setattr(engines, "load", load)
    found = engines.engine_target(H200)
    assert isinstance(found, engines.EngineTarget)
    assert (found.backend, TARGETS[found.target].sm) == ("tensorrt", "9.0")
    installed.clear()
    assert engines.engine_target(H200) == "no engines: tensorrt is not installed, tensorrt-rtx is not installed"
    installed.add("tensorrt-rtx")
    assert engines.engine_target(H200) == "no engines: tensorrt is not installed, tensorrt-rtx has no target of SM 9.0"
