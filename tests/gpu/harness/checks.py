"""What is asked of the kernels, on any device: the reference's choices, and the same bits each time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from clasp_trt.ops import spherical_kmeans
from clasp_trt.plugins import launch
from clasp_trt.plugins.launch import Plan
from tests.engines.kernels.emulator import Array
from tests.gpu.harness.cases import Case
from tests.gpu.harness.device import GUARD_BYTES, Device


def selection(case: Case) -> Iterator[tuple[Plan, Mapping[str, Array]]]:
    """The plans of ``case``, pivots and k-means, each with its inputs."""
    sizes = (len(case.pivots), case.tokens, case.keep)
    yield launch.pivot_select(*sizes), {"saliency": case.saliency, "pivot_count": case.pivot_count}
    yield launch.spherical_kmeans(*sizes), {"gram": case.gram, "pivots": case.marks}


def check_selection(device: Device, case: Case, guard: int = GUARD_BYTES) -> None:
    """Pivots and kept tokens are the reference's."""
    found = dict[str, Array]()
    for plan, inputs in selection(case):
        found |= device.run(plan, inputs, seed=case.seed, guard=guard)
    np.testing.assert_array_equal(found["pivots"], case.marks)
    kept, is_pivot = spherical_kmeans(case.gram, case.marks, case.keep)
    np.testing.assert_array_equal(found["kept"], kept)
    np.testing.assert_array_equal(found["is_pivot"], is_pivot)


def check_repeats(device: Device, case: Case, runs: int) -> None:
    """The same bits from every run, whatever the workspace holds and over however many blocks."""
    for plan, inputs in selection(case):
        first = device.run(plan, inputs, seed=0)
        for run in range(1, runs):
            blocks = None if run % 2 else 1 + 13 * run
            again = device.run(plan, inputs, seed=run, blocks=blocks)
            for name, value in first.items():
                assert again[name].tobytes() == value.tobytes(), f"run {run}: {name} differs"
