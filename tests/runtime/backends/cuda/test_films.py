"""Clips that go through graphs of their own, on a null device: the same tokens as on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from clasp_trt.runtime.media.clip import Clip
from clasp_trt.runtime.pipeline import load
from clasp_trt.tools.build.compiler import build
from examples.random_llava import PRESETS, make
from tests.runtime.backends.cuda.conftest import Rig, compile_null
from tests.runtime.backends.cuda.test_request import _same

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("tracer")]  # CUDA on a null device

QUESTION = "How many cups are there?"


@pytest.mark.parametrize("preset", ["tiny-next-video", "tiny-video"])
def test_an_answer_is_that_of_the_cpu(
    rig: Callable[..., Rig], tmp_path: Path, photos: dict[str, Path], preset: str
) -> None:
    folder = make(tmp_path / "checkpoint", PRESETS[preset])
    portable = build(folder, tmp_path / "portable", target=None, budget="1/3", max_context=512)
    bundle = compile_null(portable, tmp_path / "bundle", "tensorrt", None)
    here, cpu = rig(bundle, kv_block=16).pipeline, load(bundle.root, provider="cpu")
    with Image.open(photos["coffee"]) as photo:
        frames = tuple(photo.convert("RGB").crop((20 * i, 0, 20 * i + 90, 70)) for i in range(3))
    clip = Clip(frames, (0.0, 0.5, 1.0))
    for image, video in ((None, clip), (frames[0], None), (frames[0], clip)):
        expected = cpu.generate(image, QUESTION, video=video, max_new_tokens=8, ignore_stop=True)
        _same(here.generate(image, QUESTION, video=video, max_new_tokens=8, ignore_stop=True), expected)
