"""Families whose graphs take what no other's do, on a null device: the same tokens as on the CPU. More of them stand in
``test_grids.py`` and ``test_films.py``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from clasp_trt.runtime.pipeline import load
from clasp_trt.tools.build.compiler import build
from examples import random_gemma, random_llava, random_tiles
from tests.runtime.backends.cuda.conftest import Rig, compile_null
from tests.runtime.backends.cuda.test_request import _same

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("tracer")]  # CUDA on a null device

QUESTION = "How many cups are there?"
MAKERS = {
    "tiny-internvl": random_tiles, "tiny-smolvlm": random_tiles, "tiny-gemma3": random_gemma,
    "tiny-paligemma": random_gemma, "tiny-onevision": random_llava,
}  # fmt: skip


@pytest.mark.parametrize("preset", MAKERS)
def test_an_answer_is_that_of_the_cpu(
    rig: Callable[..., Rig], tmp_path: Path, photos: dict[str, Path], preset: str
) -> None:
    maker = MAKERS[preset]
    folder = maker.make(tmp_path / "checkpoint", maker.PRESETS[preset])  # type: ignore[attr-defined]  # each its own
    portable = build(folder, tmp_path / "portable", target=None, budget="1/3", max_context=512)
    bundle = compile_null(portable, tmp_path / "bundle", "tensorrt", None)
    here, cpu = rig(bundle, kv_block=16).pipeline, load(bundle.root, provider="cpu")
    with Image.open(photos["coffee"]) as photo:
        picture = photo.convert("RGB").crop((0, 0, 180, 70))
    for image in (picture, None):
        expected = cpu.generate(image, QUESTION, max_new_tokens=8, ignore_stop=True)
        _same(here.generate(image, QUESTION, max_new_tokens=8, ignore_stop=True), expected)
