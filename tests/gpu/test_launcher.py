"""What a plugin does in an engine, without TensorRT: its fields read back, its launcher loaded, run and captured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.ops import ITERATIONS, spherical_kmeans
from clasp_trt.plugins import FixedProgram, Image, Program, VaryingProgram, launch
from clasp_trt.plugins.driver import call, load_driver
from clasp_trt.plugins.launch import ALIGNMENT, Plan
from clasp_trt.plugins.launcher import Launcher
from clasp_trt.plugins.program import read
from tests.engines.kernels.emulator import ARRAY, Array
from tests.gpu.harness.cases import Case, ends
from tests.gpu.harness.device import Device, GuardedMemory
from tests.gpu.harness.environment import Environment, cubin_for

pytestmark = pytest.mark.gpu

CASE = Case(576, "ties", ends(576))
SHAPES = {
    "small": (Case(144, "ties", (40,)), Case(17, "noise", (2,)), Case(9, "ties", (4,))),  # of 9 all stay
    "large": (Case(576, "ties", (134,)), Case(4096, "smooth", (256,)), Case(2880, "smooth", (224,))),
}
"""Single images of different numbers of tokens, for one plugin."""


@pytest.fixture(scope="module")
def driver(device: Device) -> Any:
    """The driver's module, with a current context."""
    return load_driver()


def program(environment: Environment, operator: str, iterations: int) -> Program:
    """Of the one shape of CASE, as it comes out of an engine: from its fields."""
    cubin, batch = cubin_for(environment), len(CASE.pivots)
    plan = (
        launch.spherical_kmeans(batch, CASE.tokens, CASE.keep, iterations)
        if iterations
        else launch.pivot_select(batch, CASE.tokens, CASE.keep)
    )
    images = (Image(cubin.architecture, cubin.image),)
    return read(operator, FixedProgram(operator, CASE.keep, iterations, plan, cubin.cuda[0], images).fields())


def varying_program(environment: Environment, operator: str, iterations: int) -> Program:
    """The same for any number of tokens."""
    cubin = cubin_for(environment)
    recipe = launch.spherical_kmeans_recipe(1, iterations) if iterations else launch.pivot_select_recipe(1)
    images = (Image(cubin.architecture, cubin.image),)
    made = VaryingProgram(operator, iterations, 1, launch.MAX_TOKENS, recipe, cubin.cuda[0], images)
    return read(operator, made.fields())


@contextmanager
def memory(driver: Any, plan: Plan, inputs: dict[str, Array]) -> Iterator[tuple[dict[str, GuardedMemory], Any]]:
    noise = np.random.default_rng(0)
    held = {spec.name: GuardedMemory(driver, spec.size_bytes, ALIGNMENT, noise) for spec in plan.tensors}
    workspace = GuardedMemory(driver, plan.workspace_bytes, ALIGNMENT, noise)
    for name, value in inputs.items():
        held[name].write(np.ascontiguousarray(value))
    try:
        yield held, workspace
    finally:
        for each in (*held.values(), workspace):
            each.free()


def outputs(plan: Plan, held: dict[str, GuardedMemory]) -> dict[str, Array]:
    return {
        spec.name: held[spec.name].read().view(ARRAY[spec.dtype]).reshape(spec.shape)
        for spec in plan.tensors
        if spec.is_output
    }


def addresses(plan: Plan, held: dict[str, GuardedMemory]) -> tuple[list[int], list[int]]:
    specs = plan.tensors
    return (
        [held[spec.name].address for spec in specs if not spec.is_output],
        [held[spec.name].address for spec in specs if spec.is_output],
    )


@pytest.mark.parametrize("captured", [False, True], ids=["launched", "captured"])
def test_pivot_select(environment: Environment, driver: Any, captured: bool) -> None:
    inputs = {"saliency": CASE.saliency, "pivot_count": CASE.pivot_count}
    with loaded(driver, program(environment, PIVOT_SELECT.name, 0)) as launcher:
        found = execute(driver, launcher, CASE, inputs, captured)
    np.testing.assert_array_equal(found["pivots"], CASE.marks)


@pytest.mark.parametrize("captured", [False, True], ids=["launched", "captured"])
def test_spherical_kmeans(environment: Environment, driver: Any, captured: bool) -> None:
    with loaded(driver, program(environment, SPHERICAL_KMEANS.name, ITERATIONS)) as launcher:
        found = execute(driver, launcher, CASE, {"gram": CASE.gram, "pivots": CASE.marks}, captured)
    check_kept(CASE, found)


@pytest.mark.parametrize("captured", [False, True], ids=["launched", "captured"])
@pytest.mark.parametrize("shapes", SHAPES)
def test_any_number_of_tokens(environment: Environment, driver: Any, shapes: str, captured: bool) -> None:
    """One launcher of each operator serves all shapes, one after another and again."""
    with (
        loaded(driver, varying_program(environment, PIVOT_SELECT.name, 0)) as selecting,
        loaded(driver, varying_program(environment, SPHERICAL_KMEANS.name, ITERATIONS)) as completing,
    ):
        for case in (*SHAPES[shapes], SHAPES[shapes][0]):
            ranks = {"ranks": np.arange(case.keep)}
            inputs = {"saliency": case.saliency, "pivot_count": case.pivot_count, **ranks}
            found = execute(driver, selecting, case, inputs, captured)
            np.testing.assert_array_equal(found["pivots"], case.marks)
            inputs = {"gram": case.gram, "pivots": case.marks, **ranks}
            check_kept(case, execute(driver, completing, case, inputs, captured))


def check_kept(case: Case, found: dict[str, Array]) -> None:
    kept, is_pivot = spherical_kmeans(case.gram, case.marks, case.keep)
    np.testing.assert_array_equal(found["kept"], kept)
    np.testing.assert_array_equal(found["is_pivot"], is_pivot)


@contextmanager
def loaded(driver: Any, program: Program) -> Iterator[tuple[Program, Launcher]]:
    launcher = Launcher(program, driver)
    try:
        yield program, launcher
    finally:
        launcher.close()


def execute(
    driver: Any, loaded: tuple[Program, Launcher], case: Case, inputs: dict[str, Array], captured: bool
) -> dict[str, Array]:
    """Runs the program twice, directly or by replaying what one capture recorded."""
    program, launcher = loaded
    counts = case.tokens, case.keep
    plan = program.at(*counts)
    stream = call(driver, "cuStreamCreate", driver.CUstream_flags.CU_STREAM_NON_BLOCKING)
    try:
        with memory(driver, plan, inputs) as (held, workspace):
            arguments = (counts, *addresses(plan, held), workspace.address, int(stream))
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
            return outputs(plan, held)
    finally:
        call(driver, "cuStreamDestroy", stream)
