"""What a launcher asks of CUDA's driver: all that takes time at once, and afterwards launches alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.plugins import Image, VaryingProgram
from clasp_trt.plugins.launch import Plan
from clasp_trt.plugins.launcher import SHAPES, Launcher
from tests.plugins.null_driver import NullDriver
from tests.plugins.programs import program, varying_program

SHAPE = (16, 4)
INPUTS, OUTPUTS, WORKSPACE, STREAM = [0x10000, 0x20000], [0x30000, 0x40000], 0x7F0000000000, 0x1234


def test_everything_is_loaded_before_the_first_launch() -> None:
    driver = NullDriver()
    launcher = Launcher(program(SPHERICAL_KMEANS.name), driver)
    assert driver.log == [
        "cuLibraryLoadData \x7fELF for 8.9, ClaspSphericalKMeans",
        "cuLibraryGetKernel 1 seeds_3",
        "cuLibraryGetKernel 1 rounds_2",
        "cuFuncSetAttribute rounds_2 8 65536",  # above the 48 KB that need no leave
    ]
    driver.log.clear()
    launcher(SHAPE, INPUTS, OUTPUTS, WORKSPACE, STREAM)
    assert driver.log == [
        "cuLaunchKernel seeds_3 2 1 1 128 1 1 0 0x1234 0x10000 0x7f0000000100 0x10",
        "cuLaunchKernel rounds_2 16 2 1 32 4 1 65536 0x1234 0x7f0000000000 0xffffffff",
        "cuLaunchKernel seeds_3 1 1 3 64 1 2 1024 0x1234 0x20000 0x30000 0x4",
    ]


def test_addresses_are_those_of_the_call() -> None:
    driver = NullDriver()
    launcher = Launcher(program(PIVOT_SELECT.name), driver)
    for base in (0x1000, 0x2000, 2**63):
        driver.log.clear()
        launcher(SHAPE, [base, base + 1], [base + 2], base + 512, 0)
        assert [line.split()[10:] for line in driver.log] == [
            [hex(base), hex(base + 512 + 256), "0x10"],
            [hex(base + 512), "0xffffffff"],
            [hex(base + 1), hex(base + 2), "0x4"],
        ]


def test_two_contexts_share_nothing() -> None:
    driver, made = NullDriver(), program(PIVOT_SELECT.name)
    one, two = Launcher(made, driver), Launcher(made, driver)
    one.close()
    driver.log.clear()
    two(SHAPE, INPUTS, OUTPUTS[:1], WORKSPACE, STREAM)
    two.close()
    assert len(driver.log) == 4
    assert driver.log[-1] == "cuLibraryUnload 2"


def test_it_is_unloaded_once() -> None:
    driver = NullDriver()
    launcher = Launcher(program(PIVOT_SELECT.name), driver)
    launcher.close()
    launcher.close()
    assert driver.log.count("cuLibraryUnload 1") == 1


@pytest.mark.parametrize(
    ("device", "chosen"),
    [("8.9", "8.9"), ("8.7", "8.6"), ("8.6", "8.6"), ("12.1", "12.0"), ("12.0", "12.0")],
)
def test_the_newest_cubin_that_the_device_runs_is_taken(device: str, chosen: str) -> None:
    driver = NullDriver(device)
    Launcher(program(PIVOT_SELECT.name, sms=("8.9", "12.0", "8.0", "8.6")), driver)
    assert f" for {chosen}," in driver.log[0]


@pytest.mark.parametrize("device", ["9.0", "7.5", "8.0"])
def test_a_device_without_a_cubin_is_named(device: str) -> None:
    driver = NullDriver(device)
    with pytest.raises(RuntimeError, match=rf"SM 8\.6, 12\.0, but the GPU is SM {device}"):
        Launcher(program(PIVOT_SELECT.name, sms=("8.6", "12.0")), driver)
    assert driver.log == []


def test_a_driver_that_is_too_old_is_named() -> None:
    driver, made = NullDriver(version=12060), program(PIVOT_SELECT.name)
    Launcher(made, driver)
    with pytest.raises(RuntimeError, match=r"compiled by CUDA 13,.*CUDA 12"):
        Launcher(replace(made, cuda=13), driver)


def test_an_image_that_the_driver_refuses_is_named() -> None:
    made = replace(program(PIVOT_SELECT.name), images=(Image("8.9", b"MZ"),))
    with pytest.raises(RuntimeError, match="cuLibraryLoadData failed: CUDA_ERROR_INVALID_IMAGE"):
        Launcher(made, NullDriver())


@pytest.mark.parametrize("function", ["cuLibraryGetKernel", "cuKernelGetFunction", "cuFuncSetAttribute"])
def test_what_fails_after_loading_leaves_nothing_loaded(function: str) -> None:
    driver = NullDriver(failing=function)
    with pytest.raises(RuntimeError, match=f"{function} failed: CUDA_ERROR_LAUNCH_FAILED"):
        Launcher(program(PIVOT_SELECT.name), driver)
    assert driver.log[-1] == "cuLibraryUnload 1"


def test_a_launch_that_fails_ends_the_sequence() -> None:
    driver = NullDriver()
    launcher = Launcher(program(PIVOT_SELECT.name), driver)
    driver.log.clear()
    driver.failing = "cuLaunchKernel"
    with pytest.raises(RuntimeError, match="cuLaunchKernel failed: CUDA_ERROR_LAUNCH_FAILED"):
        launcher(SHAPE, INPUTS, OUTPUTS[:1], WORKSPACE, STREAM)
    assert driver.log == []


def test_every_shape_has_launches_of_its_own() -> None:
    driver = NullDriver()
    launcher = Launcher(varying_program(PIVOT_SELECT.name), driver)
    driver.log.clear()
    launcher((70, 9), [0x10000, 0x20000, 0x50000], OUTPUTS[:1], WORKSPACE, STREAM)
    launcher((16, 8), [0x10000, 0x20000, 0x50000], OUTPUTS[:1], WORKSPACE, STREAM)
    assert driver.log == [
        "cuLaunchKernel seeds_3 3 1 1 128 1 1 0 0x1234 0x10000 0x7f0000000200 0x46",
        "cuLaunchKernel rounds_2 1 1 1 64 1 1 4480 0x1234 0x7f0000000000 0x4f",
        "cuLaunchKernel seeds_3 1 1 1 32 1 1 1024 0x1234 0x20000 0x30000 0x9",
        "cuLaunchKernel seeds_3 1 1 1 128 1 1 0 0x1234 0x10000 0x7f0000000100 0x10",  # half stays: no second launch
        "cuLaunchKernel seeds_3 1 1 1 32 1 1 1024 0x1234 0x20000 0x30000 0x8",
    ]


def test_a_kernel_is_given_more_shared_memory_and_never_less() -> None:
    driver = NullDriver()
    launcher = Launcher(varying_program(PIVOT_SELECT.name), driver)
    for tokens in (700, 769, 900, 800, 900):
        launcher.prepare(tokens, 9)
    assert [line for line in driver.log if line.startswith("cuFunc")] == [
        "cuFuncSetAttribute rounds_2 8 49216",
        "cuFuncSetAttribute rounds_2 8 57600",
    ]


def test_a_shape_is_worked_out_once_and_few_are_kept() -> None:
    made, asked = varying_program(PIVOT_SELECT.name), list[int]()

    class Counted(VaryingProgram):
        def at(self, tokens: int, keep: int) -> Plan:
            asked.append(tokens)
            return super().at(tokens, keep)

    launcher = Launcher(Counted(**vars(made)), NullDriver())
    for tokens in (20, 30, 20, 30):
        launcher((tokens, 4), [1, 2, 3], [4], 0, 0)
    assert asked == [20, 30]
    for tokens in range(100, 101 + SHAPES):
        launcher.prepare(tokens, 4)
    launcher.prepare(20, 4)
    assert asked.count(20) == 2


def test_a_shape_that_there_is_none_of_is_an_error() -> None:
    launcher = Launcher(varying_program(PIVOT_SELECT.name), NullDriver())
    with pytest.raises(ValueError, match="not 20 of 16"):
        launcher.prepare(16, 20)
