"""Answers of the runtime on this device against those of the same checkpoint by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gpu.harness.needs import RUNTIME, missing

if absent := missing(RUNTIME):
    pytest.skip(f"the runtime also needs {', '.join(absent)}", allow_module_level=True)

import clasp_trt
from clasp_trt.bundle import Bundle
from clasp_trt.plugins.driver import call, load_driver
from clasp_trt.tools.build.compiler import build
from tests.gpu.harness.engines import (
    PHOTO,
    PROMPTS,
    EngineTarget,
    check_answers,
    engine_target,
    half_precision_check,
    lacking_for_export,
    logits,
)
from tests.gpu.harness.environment import Environment
from tests.gpu.harness.families import FAMILIES, check_shapes

pytestmark = pytest.mark.gpu

TOKENS = (11, 200, 37, 81, 64)
Note = Callable[[str, object], None]


@pytest.fixture(scope="module", autouse=True)
def export() -> None:
    if reason := lacking_for_export():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def target(environment: Environment) -> EngineTarget:
    found = engine_target(environment)
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="module")
def engines(target: EngineTarget, built: Callable[..., Bundle]) -> Callable[..., Bundle]:
    """``engines(**options)`` is a bundle of engines for this device."""

    def make(**options: Any) -> Bundle:
        return built(backend=target.backend, target=target.target, cache=False, **options)

    return make


@pytest.mark.parametrize("plugins", [True, False], ids=["plugins", "operators"])
@pytest.mark.parametrize("prune_at", ["decoder", "encoder", "none"])
def test_fp32_answers_are_the_same(
    engines: Callable[..., Bundle], built: Callable[..., Bundle], prune_at: str, plugins: bool
) -> None:
    if plugins and prune_at == "none":
        pytest.skip("nothing is selected, so there are no plugins")
    check_answers(engines(prune_at=prune_at, plugins=plugins).root, built(prune_at=prune_at).root)


def test_answers_about_any_number_of_tokens(engines: Callable[..., Bundle], built: Callable[..., Bundle]) -> None:
    """One picture, then two, then one again."""
    options: dict[str, Any] = {"max_images": 2, "budget": "1/3", "max_context": 160}
    check_answers(engines(plugins=True, **options).root, built(**options).root, shown=(PHOTO, [PHOTO, PHOTO], PHOTO))


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_about_pictures_of_any_shape(target: EngineTarget, tmp_path: Path, family: str) -> None:
    """Of families that see each picture in its own grid or tiles."""
    made = build(
        FAMILIES[family](tmp_path / "checkpoint"), tmp_path / "bundle", backend=target.backend, target=target.target,
        cache=False, max_images=2, max_context=512,
    )  # fmt: skip
    assert len(check_shapes(made.root)) == 5


def test_fp16_logits(engines: Callable[..., Bundle], built: Callable[..., Bundle], record_property: Note) -> None:
    """Without pruning, where a choice that rounding flips would change everything after it."""
    exact, baseline = (logits(built(prune_at="none", precision=each), TOKENS) for each in ("fp32", "fp16"))
    found = logits(engines(prune_at="none", precision="fp16"), TOKENS)
    record_property("fp16 deviation", half_precision_check(found, baseline, exact))


def test_requests_one_after_another_take_no_more_memory(engines: Callable[..., Bundle]) -> None:
    driver = load_driver()
    with clasp_trt.load(engines(precision="fp16").root) as pipeline:
        for prompt in PROMPTS:
            pipeline.generate(PHOTO, prompt, max_new_tokens=12, ignore_stop=True)
        free, _ = call(driver, "cuMemGetInfo")
        for prompt in PROMPTS * 3:
            pipeline.generate(PHOTO, prompt, max_new_tokens=12, ignore_stop=True)
        assert call(driver, "cuMemGetInfo")[0] >= free


@pytest.mark.parametrize("prune_at", ["decoder", "encoder", "none"])
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_fp32_answers_of_onnxruntime(
    environment: Environment, built: Callable[..., Bundle], prune_at: str, provider: str
) -> None:
    import onnxruntime

    name = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}[provider]
    if name not in onnxruntime.get_available_providers():
        pytest.skip(f"onnxruntime here has no {name}")
    bundle = built(prune_at=prune_at).root
    check_answers(bundle, bundle, provider)
