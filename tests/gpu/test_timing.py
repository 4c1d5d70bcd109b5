"""The selection is timed, not judged: figures go to the page, and what is checked is that all computed the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.selection_gpu import GOALS, SAME, CudaBench, Shape, time_selection
from tests.gpu.harness.device import Device
from tests.gpu.harness.environment import Environment

pytestmark = pytest.mark.gpu

ROUNDS, SAMPLES = 5, 50


@pytest.fixture(scope="module")
def bench(environment: Environment) -> CudaBench:
    import torch

    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} is built without CUDA, and it is what the peers run on")
    return CudaBench(round(environment.l2_mb * 2e6))


@pytest.mark.parametrize("shape", GOALS, ids=lambda shape: f"{shape.tokens}-{shape.keep}")
def test_selection(
    device: Device, bench: CudaBench, shape: Shape, record_property: Callable[[str, object], None]
) -> None:
    timing = time_selection(device, bench, shape, ROUNDS, SAMPLES)
    record_property("timing", timing.to_json())
    ours = timing.rows[0]
    assert ours.agreement >= SAME
