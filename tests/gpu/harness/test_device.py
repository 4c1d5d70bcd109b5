"""The harness of the check on a GPU, on the host: the kernels are emulated, and faults that are planted must show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from clasp_trt.engines.kernels import compile_kernels
from clasp_trt.errors import BackendError
from clasp_trt.plugins import launch
from clasp_trt.plugins.launch import Launch, Tensor, Workspace
from tests.engines.kernels.conftest import emulator
from tests.engines.kernels.emulator import Emulator
from tests.gpu.harness import checks
from tests.gpu.harness.cases import DTYPES, KINDS, Case, cases, ends
from tests.gpu.harness.device import Device, reshaped
from tests.gpu.harness.emulated_driver import EmulatedDriver

__all__ = ["emulator"]

SMALL = Case(17, 64, "float32", "ties", ends(17))


@pytest.fixture
def driver(emulator: Emulator) -> EmulatedDriver:
    return EmulatedDriver(emulator)


@pytest.fixture
def device(driver: EmulatedDriver) -> Iterator[Device]:
    device = Device(driver, b"cubin")
    yield device
    device.close()
    assert (driver.allocated, driver.loaded, driver.retained) == (0, 0, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_selection_of_every_kind(device: Device, dtype: str, kind: str) -> None:
    checks.check_selection(device, Case(17, 200, dtype, kind, ends(17)))


def test_selection_of_more_than_one_tile(device: Device) -> None:
    checks.check_selection(device, Case(144, 1001, "float16", "smooth", ends(144)), guard=0)


def test_repeats(device: Device) -> None:
    checks.check_repeats(device, SMALL, runs=4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_saliency_and_prune(device: Device, dtype: str) -> None:
    checks.check_saliency(device, heads=4, rows=33, tokens=70, dtype=dtype)
    checks.check_attention_saliency(device, checks.Attention(4, 2, 24, 90, 130, 20, 50), dtype)
    checks.check_prune(device, sequence=60, tokens=40, keep=11, width=24, dtype=dtype)


def test_cases_cover_the_promised_range() -> None:
    listed = list(cases())
    assert len(set(map(str, listed))) == len(listed)
    assert {case.tokens for case in listed} == {9, 17, 144, 576, 2880, 4096}
    assert {64, 8192} <= {case.width for case in listed}
    assert {(case.dtype, case.kind) for case in listed} == {(dtype, kind) for dtype in DTYPES for kind in KINDS}


def test_checks_launch_every_kernel() -> None:
    plans = [checks.selection_plan(case) for case in cases()]
    for dtype in DTYPES:
        plans += [launch.saliency(1, 2, 3, 4, dtype), launch.attention_saliency(2, 1, 4, 9, 9, 3, 5, dtype)]
    plans += [launch.prune_rows(9, 5, 2, 1, 4, "float32"), launch.narrow_gram(1, 5, 2)]
    try:
        cubin = compile_kernels("9.0")
    except BackendError as error:
        pytest.skip(str(error))
    assert {kernel for plan in plans for kernel in plan.kernels} == set(cubin.resources)


def test_a_case_is_the_same_each_time_and_of_its_kind() -> None:
    case = Case(144, 64, "float16", "invalid", ends(144))
    np.testing.assert_array_equal(case.visual, replace(case).visual)
    rows = case.visual.astype(np.float64)
    assert {"zero", "nan", "inf"} == {
        name
        for name, found in (
            ("zero", (rows == 0).all(-1)),
            ("nan", np.isnan(rows).any(-1)),
            ("inf", np.isinf(rows).any(-1)),
        )
        if found.any()
    }


class Faulty(Device):
    """Runs a plan other than the one it is given."""

    def __init__(self, driver: EmulatedDriver, fault: object) -> None:
        super().__init__(driver, b"cubin")
        self._fault = fault

    def bind(self, plan, addresses, workspace):  # type: ignore[no-untyped-def]
        return super().bind(self._fault(plan), addresses, workspace)  # type: ignore[operator]


def _without(kernel: str):  # type: ignore[no-untyped-def]
    return lambda plan: replace(plan, launches=tuple(each for each in plan.launches if each.kernel != kernel))


def _moved(plan: launch.Plan) -> launch.Plan:
    """Every kernel writes one element beyond where it should."""
    last = plan.launches[-1]
    arguments = tuple(Workspace(plan.workspace_bytes - 4) if a == Tensor("kept") else a for a in last.arguments)
    return replace(plan, launches=(*plan.launches[:-1], replace(last, arguments=arguments)))


@pytest.mark.parametrize(
    "fault",
    [
        _without("clasp_pivot_select"),
        _without("clasp_gram_finish"),
        _without("clasp_update"),
        _without("clasp_medoids"),
        _moved,
    ],
    ids=["pivots", "gram", "update", "medoids", "elsewhere"],
)
def test_a_planted_fault_shows(driver: EmulatedDriver, fault: object) -> None:
    with pytest.raises(AssertionError):
        checks.check_selection(Faulty(driver, fault), SMALL)


def test_a_write_into_a_guard_zone_shows(driver: EmulatedDriver) -> None:
    with pytest.raises(AssertionError, match="outside of its memory"):
        Faulty(driver, _moved).run(checks.selection_plan(SMALL), checks.selection_inputs(SMALL))
    assert driver.allocated == 0


def test_results_that_vary_show(driver: EmulatedDriver) -> None:
    with pytest.raises(AssertionError, match="run 1: kept differs"):
        checks.check_repeats(Faulty(driver, _without("clasp_medoids")), SMALL, runs=2)


class Rounding(Device):
    """Multiplies in the precision of TF32: ten bits of a token's elements."""

    def run(self, plan, inputs, **options):  # type: ignore[no-untyped-def]
        bits = inputs["visual"].view(np.uint32) + np.uint32(1 << 12) & np.uint32(0xFFFFE000)
        return super().run(plan, {**inputs, "visual": bits.view(np.float32)}, **options)


def test_products_of_less_precision_show(driver: EmulatedDriver) -> None:
    case = Case(17, 64, "float32", "noise", ends(17))
    checks.check_selection(Device(driver, b"cubin"), case)
    with pytest.raises(AssertionError, match="steps off"):
        checks.check_selection(Rounding(driver, b"cubin"), case)


def test_a_kernel_that_changes_its_input_shows(driver: EmulatedDriver) -> None:
    def fault(plan: launch.Plan) -> launch.Plan:
        last = plan.launches[-1]
        arguments = tuple(Tensor("visual") if each == Tensor("kept") else each for each in last.arguments)
        return replace(plan, launches=(*plan.launches[:-1], replace(last, arguments=arguments)))

    with pytest.raises(AssertionError, match="a kernel changed input visual"):
        Faulty(driver, fault).run(checks.selection_plan(SMALL), checks.selection_inputs(SMALL))


def test_grids_and_blocks_are_those_asked_for_where_a_kernel_allows_it() -> None:
    free, fixed = (Launch(name, (7, 1, 1), (256, 1, 1), 0, ()) for name in ("clasp_update", "clasp_gram_tile64_fp16"))
    assert reshaped(free, None, None) == free
    assert (reshaped(free, 5, 3).grid, reshaped(free, 5, 3).block) == ((5, 1, 1), (96, 1, 1))
    assert (reshaped(fixed, 5, 3).grid, reshaped(fixed, 5, 3).block) == ((5, 1, 1), (256, 1, 1))
