"""What a plugin enqueues, run on the host: its fields alone lead to the references' answers, index for index."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.ops import ITERATIONS, pivot_select, spherical_kmeans, token_gram
from clasp_trt.plugins import Image, Program
from clasp_trt.plugins.launch import ALIGNMENT, Plan
from clasp_trt.plugins.launch import pivot_select as plan_pivot_select
from clasp_trt.plugins.launch import spherical_kmeans as plan_spherical_kmeans
from clasp_trt.plugins.plugin import creator
from tests.engines.kernels.emulator import ARRAY, Array, Emulator, GuardedBuffer
from tests.plugins import fake_trt
from tests.plugins.null_driver import NullDriver


class EmulatedDriver(NullDriver):
    """A driver whose launches run on the host; the host's memory is its device's."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__()
        self._emulate = emulator.library.emulate

    def cuLaunchKernel(self, function: str, *numbers: int) -> Any:
        blocks, *_, shared, _, arguments, _ = numbers
        error = self._emulate(
            function.encode(), ctypes.c_void_p(arguments), min(blocks, 3), 64, ctypes.c_size_t(shared), 0
        )
        assert error is None, error
        return (0,)


def _answers(emulator: Emulator, operator: str, keep: int, iterations: int, plan: Plan, *inputs: Array) -> list[Array]:
    """What the plugin of ``operator`` leaves in its outputs, made as TensorRT makes it from an engine."""
    noise = np.random.default_rng(0)
    driver, trt = EmulatedDriver(emulator), fake_trt.module()
    made = Program(operator, keep, iterations, plan, 13, (Image("8.9", b"\x7fELF"),))
    kinds = {"kernels": trt.PluginFieldType.CHAR, "cubins": trt.PluginFieldType.INT8}
    fields = [
        trt.PluginField(name, data, kinds.get(name, trt.PluginFieldType.INT32)) for name, data in made.fields().items()
    ]
    plugin = creator(trt, operator, lambda: driver).create_plugin("node", fields, "runtime").attach_to_context(None)
    buffers = [GuardedBuffer(spec.size_bytes, noise) for spec in plan.tensors]
    for buffer, value in zip(buffers, inputs, strict=False):
        buffer.bytes[:] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    workspace = GuardedBuffer(plugin.get_workspace_size([], []), noise)
    addresses = [buffer.address for buffer in buffers]
    split = len(inputs)
    for _ in range(2):  # a workspace that was used before is as good as any
        plugin.enqueue([], [], addresses[:split], addresses[split:], workspace.address, 0)
    for buffer in (*buffers, workspace):
        buffer.check("what it was given")
    return [
        buffer.bytes.view(ARRAY[spec.dtype]).reshape(spec.shape)
        for spec, buffer in list(zip(plan.tensors, buffers, strict=True))[split:]
    ]


@pytest.mark.parametrize(("tokens", "keep", "count"), [(16, 7, 3), (33, 32, 0), (70, 20, 20), (9, 9, 4)])
def test_plugins_choose_what_the_references_choose(emulator: Emulator, tokens: int, keep: int, count: int) -> None:
    rng = np.random.default_rng(tokens)
    saliency = rng.standard_normal((1, tokens)).round(1).astype(np.float32)
    gram = token_gram(rng.standard_normal((1, tokens, 4)).round(0))
    counts = np.array([count])
    assert ALIGNMENT == 256, "what TensorRT aligns tensors and workspaces to"
    (pivots,) = _answers(emulator, PIVOT_SELECT.name, keep, 0, plan_pivot_select(1, tokens, keep), saliency, counts)
    np.testing.assert_array_equal(pivots, pivot_select(saliency, counts, keep))
    plan = plan_spherical_kmeans(1, tokens, keep)
    found = _answers(emulator, SPHERICAL_KMEANS.name, keep, ITERATIONS, plan, gram, pivots)
    for array, expected in zip(found, spherical_kmeans(gram, pivots, keep), strict=True):
        np.testing.assert_array_equal(array, expected)
