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
from tests.gpu.harness.cases import KINDS, Case, cases, ends
from tests.gpu.harness.device import Device, reshaped
from tests.gpu.harness.emulated_driver import EmulatedDriver

pytestmark = pytest.mark.full  # kernels on an emulated device

__all__ = ["emulator"]

SMALL = Case(17, "ties", ends(17))


@pytest.fixture
def driver(emulator: Emulator) -> EmulatedDriver:
    return EmulatedDriver(emulator)


@pytest.fixture
def device(driver: EmulatedDriver) -> Iterator[Device]:
    device = Device(driver, b"cubin")
    yield device
    device.close()
    assert (driver.allocated, driver.loaded, driver.retained) == (0, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_selection_of_every_kind(device: Device, kind: str) -> None:
    checks.check_selection(device, Case(17, kind, ends(17)))


def test_selection_of_more_than_one_tile(device: Device) -> None:
    checks.check_selection(device, Case(144, "smooth", ends(144)), guard=0)


def test_repeats(device: Device) -> None:
    checks.check_repeats(device, SMALL, runs=4)


def test_cases_cover_the_promised_range() -> None:
    listed = list(cases())
    assert len(set(map(str, listed))) == len(listed)
    assert {case.tokens for case in listed} == {9, 17, 144, 576, 2880, 4096}
    assert {case.kind for case in listed} == set(KINDS)
    assert {case.pivots[0] for case in listed if len(case.pivots) == 1} >= {0, 224}, "large images, one at a time"


def test_checks_launch_every_kernel() -> None:
    plans = [plan for case in (SMALL, Case(9, "ties", ends(9))) for plan, _ in checks.selection(case)]
    assert set(map(str, (SMALL, Case(9, "ties", ends(9))))) <= set(map(str, cases()))
    try:
        cubin = compile_kernels("9.0")
    except BackendError as error:
        pytest.skip(str(error))
    assert {kernel for plan in plans for kernel in plan.kernels} == set(cubin.resources)


def test_a_case_is_the_same_each_time_and_of_its_kind() -> None:
    case = Case(144, "invalid", ends(144))
    np.testing.assert_array_equal(case.gram, replace(case).gram)
    valid = np.diagonal(case.gram, axis1=1, axis2=2)
    assert 0 < valid.mean() < 1, "some tokens are invalid"
    assert not np.isfinite(case.saliency).all()
    assert (np.diff(np.sort(Case(144, "ties", ends(144)).gram, axis=-1)) == 0).mean() > 0.5


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
        _without("clasp_update"),
        _without("clasp_medoids"),
        _moved,
    ],
    ids=["pivots", "update", "medoids", "elsewhere"],
)
def test_a_planted_fault_shows(driver: EmulatedDriver, fault: object) -> None:
    with pytest.raises(AssertionError):
        checks.check_selection(Faulty(driver, fault), SMALL)


def test_a_write_into_a_guard_zone_shows(driver: EmulatedDriver) -> None:
    with pytest.raises(AssertionError, match="outside of its memory"):
        checks.check_selection(Faulty(driver, _moved), SMALL)
    assert driver.allocated == 0


def test_results_that_vary_show(driver: EmulatedDriver) -> None:
    with pytest.raises(AssertionError, match="run 1: kept differs"):
        checks.check_repeats(Faulty(driver, _without("clasp_medoids")), SMALL, runs=2)


def test_a_kernel_that_changes_its_input_shows(driver: EmulatedDriver) -> None:
    def fault(plan: launch.Plan) -> launch.Plan:
        last = plan.launches[-1]
        arguments = tuple(Tensor("gram") if each == Tensor("kept") else each for each in last.arguments)
        return replace(plan, launches=(*plan.launches[:-1], replace(last, arguments=arguments)))

    with pytest.raises(AssertionError, match="a kernel changed input gram"):
        checks.check_selection(Faulty(driver, fault), SMALL)


def test_grids_and_blocks_are_those_asked_for() -> None:
    planned = Launch("clasp_update", (7, 1, 1), (256, 1, 1), 0, ())
    assert reshaped(planned, None, None) == planned
    assert (reshaped(planned, 5, 3).grid, reshaped(planned, 5, 3).block) == ((5, 1, 1), (96, 1, 1))
