"""Requests that are answered together on a null device: the tokens of the CPU, in steps that are recorded."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends.cuda.backend import connect
from clasp_trt.runtime.backends.cuda.library import Library
from clasp_trt.runtime.engine import Engine
from clasp_trt.runtime.pipeline import load
from clasp_trt.speculation import MOST
from tests.mistakes import says
from tests.runtime.backends.cuda.conftest import TARGETS, VERSION
from tests.runtime.backends.cuda.null_driver import NullCuda
from tests.runtime.backends.cuda.null_tensorrt import NullTensorRT

pytestmark = pytest.mark.full  # CUDA on a null device

ASKED = (("How many cups?", 9), ("Hi", 30), ("Where is the spoon, and which colour?", 4), ("Why?", 17), ("And?", 12))
EVEN: dict[str, Any] = {"budget": None, "schedule": (12, 8, 4)}
"""Stages whose segments have caches that can be bound slot by slot."""


@pytest.mark.parametrize(("backend", "aliasing"), [("tensorrt", True), ("tensorrt", False), ("tensorrt-rtx", True)])
def test_answers_are_those_of_the_cpu(
    compiled: Callable[..., Bundle], photos: dict[str, Path], backend: str, aliasing: bool
) -> None:
    """With pictures and without, of different lengths, so that some leave and others take their places; for some,
    tokens are proposed."""
    bundle = compiled(backend, slots=3, **EVEN)
    cuda = NullCuda(sm=TARGETS[backend][1], memory=1 << 33)
    trt = NullTensorRT(cuda, bundle, VERSION, aliasing=aliasing, rtx=backend == "tensorrt-rtx")
    opened = connect(bundle, Library(backend, trt), cuda, kv_block=16)
    rows: list[int] = []
    with Engine(bundle, opened) as engine:
        step = engine._steps.decoder.step

        def watched(tokens: Any) -> Any:
            rows.append(len(tokens))
            return step(tokens)

        engine._steps.decoder.step = watched  # type: ignore[method-assign]
        pictures = [photos["coffee"] if number % 2 else None for number in range(len(ASKED))]
        requests = [
            engine.submit(picture, prompt, max_new_tokens=most, ignore_stop=True, lookup=MOST if number < 2 else 0)
            for number, (picture, (prompt, most)) in enumerate(zip(pictures, ASKED, strict=True))
        ]
        found = [request.result.token_ids for request in requests]
        recorded = len(opened.device.recordings)
    with load(bundle.root, provider="cpu", threads=1) as cpu:
        for picture, (prompt, most), ids in zip(pictures, ASKED, found, strict=True):
            assert ids == cpu.generate(picture, prompt, max_new_tokens=most, ignore_stop=True).token_ids
    assert max(rows) == 3
    assert recorded < len(rows), "steps of as many rows, and about as full, are one recording"
    assert cuda.left() == []
    gc.collect()
    assert list(trt.alive) == []


def test_no_more_slots_than_the_engines_have(compiled: Callable[..., Bundle]) -> None:
    bundle = compiled(slots=3, **EVEN)
    cuda = NullCuda(sm=TARGETS["tensorrt"][1], memory=1 << 33)
    with connect(bundle, Library("tensorrt", NullTensorRT(cuda, bundle, VERSION)), cuda) as opened:
        with pytest.raises(BackendError) as error:
            Engine(bundle, opened, slots=4)
        says(error, 4, 3, "--slots 4")


def test_a_slot_that_cannot_be_bound_is_said_when_opened(compiled: Callable[..., Bundle]) -> None:
    bundle = compiled(slots=2)
    cuda = NullCuda(sm=TARGETS["tensorrt"][1], memory=1 << 33)
    with connect(bundle, Library("tensorrt", NullTensorRT(cuda, bundle, VERSION)), cuda) as opened:
        with pytest.raises(BackendError) as error:
            Engine(bundle, opened)
        says(error, "slot", 87 * 64, 256)
