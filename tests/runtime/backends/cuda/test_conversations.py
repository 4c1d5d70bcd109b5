"""Conversations on a null device, which keeps pictures and the beginning of prompts: the same tokens as on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.runtime.pipeline import load
from tests.runtime.backends.cuda.conftest import Rig
from tests.runtime.backends.cuda.test_request import _same

pytestmark = pytest.mark.full  # CUDA on a null device


def user(text: str, *images: Path) -> dict[str, Any]:
    shown = [{"type": "image", "path": image} for image in images]
    return {"role": "user", "content": [*shown, {"type": "text", "text": text}]}


def test_answers_are_those_of_the_cpu(
    rig: Callable[..., Rig], compiled: Callable[..., Bundle], photos: dict[str, Path]
) -> None:
    bundle = compiled(max_images=2, budget="1/3", max_context=200)
    here = rig(bundle, keeps=True, kv_block=16)
    system = {"role": "system", "content": "You are kind and brief, and you never say more than was asked."}
    first = [system, user("How many cups are there?", photos["coffee"])]
    talks = [
        first,
        [*first, {"role": "assistant", "content": "One."}, user("And now?", photos["chelsea"])],
        [system, user("Which is it?", photos["chelsea"], photos["coffee"])],
        [system, user("Hello.")],
        [system, user("Hello.")],
    ]
    reused = []
    with load(bundle.root, provider="cpu", image_cache_bytes=0, reuse_prompts=False) as cpu:
        for talk in talks:
            found = here.pipeline.chat(talk, max_new_tokens=12, ignore_stop=True)
            _same(found, cpu.chat(talk, max_new_tokens=12, ignore_stop=True))
            reused.append((found.reused_images, found.reused_tokens > 10))
    assert reused == [(0, False), (1, True), (2, True), (0, True), (0, True)]
    assert found.reused_tokens == found.prompt_tokens - 1
