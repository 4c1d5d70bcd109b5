"""What a plugin does in an engine, without TensorRT: its fields read back, its launcher loaded, run and captured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.ops import ITERATIONS, spherical_kmeans
from clasp_trt.plugins import Image, Program, launch
from clasp_trt.plugins.driver import call, load_driver
from clasp_trt.plugins.launch import ALIGNMENT
from clasp_trt.plugins.launcher import Launcher
from tests.engines.kernels.emulator import ARRAY, Array
from tests.gpu.harness.cases import Case, ends
from tests.gpu.harness.device import Device, GuardedMemory
from tests.gpu.harness.environment import Environment, cubin_for

pytestmark = pytest.mark.gpu

CASE = Case(576, "ties", ends(576))


@pytest.fixture(scope="module")
def driver(device: Device) -> Any:
    """The driver's module, with a current context."""
    return load_driver()


def program(environment: Environment, operator: str, iterations: int) -> Program:
    """As it comes out of an engine: from its fields."""
    cubin, batch = cubin_for(environment), len(CASE.pivots)
    plan = (
        launch.spherical_kmeans(batch, CASE.tokens, CASE.keep, iterations)
        if iterations
        else launch.pivot_select(batch, CASE.tokens, CASE.keep)
    )
    images = (Image(cubin.architecture, cubin.image),)
    return Program.read(operator, Program(operator, CASE.keep, iterations, plan, cubin.cuda[0], images).fields())


@contextmanager
def memory(driver: Any, program: Program, inputs: dict[str, Array]) -> Iterator[tuple[dict[str, GuardedMemory], Any]]:
    noise = np.random.default_rng(0)
    held = {spec.name: GuardedMemory(driver, spec.size_bytes, ALIGNMENT, noise) for spec in program.plan.tensors}
    workspace = GuardedMemory(driver, program.plan.workspace_bytes, ALIGNMENT, noise)
    for name, value in inputs.items():
        held[name].write(np.ascontiguousarray(value))
    try:
        yield held, workspace
    finally:
        for each in (*held.values(), workspace):
            each.free()


def outputs(program: Program, held: dict[str, GuardedMemory]) -> dict[str, Array]:
    return {
        spec.name: held[spec.name].read().view(ARRAY[spec.dtype]).reshape(spec.shape)
        for spec in program.plan.tensors
        if spec.is_output
    }


def addresses(program: Program, held: dict[str, GuardedMemory]) -> tuple[list[int], list[int]]:
    specs = program.plan.tensors
    return (
        [held[spec.name].address for spec in specs if not spec.is_output],
        [held[spec.name].address for spec in specs if spec.is_output],
    )


@pytest.mark.parametrize("captured", [False, True], ids=["launched", "captured"])
def test_pivot_select(environment: Environment, driver: Any, captured: bool) -> None:
    made = program(environment, PIVOT_SELECT.name, 0)
    inputs = {"saliency": CASE.saliency, "pivot_count": CASE.pivot_count}
    found = execute(driver, made, inputs, captured)
    np.testing.assert_array_equal(found["pivots"], CASE.marks)


@pytest.mark.parametrize("captured", [False, True], ids=["launched", "captured"])
def test_spherical_kmeans(environment: Environment, driver: Any, captured: bool) -> None:
    made = program(environment, SPHERICAL_KMEANS.name, ITERATIONS)
    found = execute(driver, made, {"gram": CASE.gram, "pivots": CASE.marks}, captured)
    kept, is_pivot = spherical_kmeans(CASE.gram, CASE.marks, CASE.keep)
    np.testing.assert_array_equal(found["kept"], kept)
    np.testing.assert_array_equal(found["is_pivot"], is_pivot)


def execute(driver: Any, program: Program, inputs: dict[str, Array], captured: bool) -> dict[str, Array]:
    """Runs the program twice, directly or by replaying what one capture recorded."""
    stream = call(driver, "cuStreamCreate", driver.CUstream_flags.CU_STREAM_NON_BLOCKING)
    launcher = Launcher(program, driver)
    try:
        with memory(driver, program, inputs) as (held, workspace):
            arguments = (*addresses(program, held), workspace.address, int(stream))
            if captured:
                mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
                call(driver, "cuStreamBeginCapture", stream, mode)
                launcher(*arguments)
                graph = call(driver, "cuStreamEndCapture", stream)
                replay = call(driver, "cuGraphInstantiate", graph, 0)
                for _ in range(2):
                    call(driver, "cuGraphLaunch", replay, stream)
                call(driver, "cuStreamSynchronize", stream)
                call(driver, "cuGraphExecDestroy", replay)
                call(driver, "cuGraphDestroy", graph)
            else:
                for _ in range(2):
                    launcher(*arguments)
                call(driver, "cuStreamSynchronize", stream)
            workspace.read()  # its guard zones
            return outputs(program, held)
    finally:
        launcher.close()
        call(driver, "cuStreamDestroy", stream)
