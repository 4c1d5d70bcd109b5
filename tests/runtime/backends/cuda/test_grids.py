"""Pictures that keep their shape or are cut into tiles, and rows with several positions, on a null device: the same
tokens as on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.runtime.pipeline import load
from clasp_trt.tools.build.compiler import build
from examples import random_llava, random_qwen
from tests.runtime.backends.cuda.conftest import Rig, compile_null
from tests.runtime.backends.cuda.test_request import _same

pytestmark = pytest.mark.full  # CUDA on a null device

QUESTION = "How many cups are there?"
Rigs = Callable[..., Rig]


@pytest.fixture(scope="module", params=["tiny-qwen2.5", "tiny-qwen3", "tiny-next"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Windows, or a table of positions and additions to the visual tokens after the first layers, or tiles that an
    index packs."""
    root = tmp_path_factory.mktemp("grids")
    maker = random_llava if request.param == "tiny-next" else random_qwen
    made = maker.make(root / "checkpoint", maker.PRESETS[request.param])
    portable = build(made, root / "portable", target=None, budget="1/3", max_context=512, max_images=2)
    return compile_null(portable, root / "bundle", "tensorrt", None)


def test_an_answer_is_that_of_the_cpu(rig: Rigs, bundle: Bundle, photos: dict[str, Path]) -> None:
    here, cpu = rig(bundle, kv_block=16).pipeline, load(bundle.root, provider="cpu")
    one, other = photos["coffee"], photos["chelsea"]
    for images in (one, other, [one, other], None):
        expected = cpu.generate(images, QUESTION, max_new_tokens=12, ignore_stop=True)
        _same(here.generate(images, QUESTION, max_new_tokens=12, ignore_stop=True), expected)
