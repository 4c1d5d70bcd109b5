"""Engines that TensorRT builds and runs on this device: the selection inside, by plugins and by standard operators."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.gpu.harness.needs import RUNTIME, missing

if absent := missing(RUNTIME):
    pytest.skip(f"the runtime also needs {', '.join(absent)}", allow_module_level=True)

from clasp_trt.bundle import Bundle
from tests.gpu.harness.engines import EngineTarget, check_prunes, engine_target, lacking_for_export
from tests.gpu.harness.environment import Environment

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def target(environment: Environment) -> EngineTarget:
    found = engine_target(environment)
    reason = found if isinstance(found, str) else lacking_for_export()
    if reason is not None:
        pytest.skip(reason)
    assert isinstance(found, EngineTarget)
    return found


@pytest.mark.parametrize("plugins", [True, False], ids=["plugins", "operators"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_prunes_keep_what_the_reference_keeps(
    target: EngineTarget, built: Callable[..., Bundle], precision: str, plugins: bool
) -> None:
    bundle = built(backend=target.backend, target=target.target, precision=precision, plugins=plugins, cache=False)
    check_prunes(bundle, bundle.manifest.schedule.tokens)


@pytest.mark.parametrize("plugins", [True, False], ids=["plugins", "operators"])
def test_prunes_of_any_number_of_tokens(target: EngineTarget, built: Callable[..., Bundle], plugins: bool) -> None:
    """One engine of each stage serves requests of one picture and of more."""
    bundle = built(
        backend=target.backend, target=target.target, plugins=plugins, cache=False, max_images=3, budget="1/3",
        max_context=256,
    )  # fmt: skip
    for tokens in (16, 48, 32):
        check_prunes(bundle, tokens)
