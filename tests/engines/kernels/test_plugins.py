"""What a plugin enqueues, run on the host: its fields alone lead to the references' answers, index for index."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.ops import ITERATIONS, pivot_select, spherical_kmeans, token_gram
from clasp_trt.plugins import FixedProgram, Image, Program, VaryingProgram
from clasp_trt.plugins.launch import ALIGNMENT, MAX_TOKENS, pivot_select_recipe, selection, spherical_kmeans_recipe
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


class Running:
    """The plugin of a program, made as TensorRT makes it from an engine, and attached.

    Its workspace is for inputs of the shapes ``most``.
    """

    def __init__(self, emulator: Emulator, program: Program, *most: tuple[int, ...]) -> None:
        driver, trt = EmulatedDriver(emulator), fake_trt.module()
        kinds = {"kernels": trt.PluginFieldType.CHAR, "cubins": trt.PluginFieldType.INT8}
        fields = [
            trt.PluginField(name, data, kinds.get(name, trt.PluginFieldType.INT32))
            for name, data in program.fields().items()
        ]
        made = creator(trt, program.operator, lambda: driver).create_plugin("node", fields, "runtime")
        self._plugin, self._program = made.attach_to_context(None), program
        noise = np.random.default_rng(0)
        self._workspace = GuardedBuffer(made.get_workspace_size(fake_trt.described(*most), []), noise)

    def __call__(self, counts: tuple[int, int], *inputs: Array) -> list[Array]:
        """What the plugin leaves in its outputs."""
        noise = np.random.default_rng(0)
        specs, split = self._program.at(*counts).tensors, len(inputs)
        buffers = [GuardedBuffer(spec.size_bytes, noise) for spec in specs]
        for buffer, value in zip(buffers, inputs, strict=False):
            buffer.bytes[:] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        given, addresses = fake_trt.described(*(value.shape for value in inputs)), [each.address for each in buffers]
        self._plugin.on_shape_change(given, [])
        for _ in range(2):  # a workspace that was used before is as good as any
            self._plugin.enqueue(given, [], addresses[:split], addresses[split:], self._workspace.address, 0)
        for buffer in (*buffers, self._workspace):
            buffer.check("what it was given")
        return [
            buffer.bytes.view(ARRAY[spec.dtype]).reshape(spec.shape)
            for spec, buffer in list(zip(specs, buffers, strict=True))[split:]
        ]


def _image(tokens: int) -> tuple[Array, Array]:
    """Saliency and Gram matrix of tokens with ties."""
    rng = np.random.default_rng(tokens)
    saliency = rng.standard_normal((1, tokens)).round(1).astype(np.float32)
    return saliency, token_gram(rng.standard_normal((1, tokens, 4)).round(0))


IMAGES = (Image("8.9", b"\x7fELF"),)


@pytest.mark.parametrize(("tokens", "keep", "count"), [(16, 7, 3), (33, 32, 0), (70, 20, 20), (9, 9, 4)])
def test_plugins_choose_what_the_references_choose(emulator: Emulator, tokens: int, keep: int, count: int) -> None:
    saliency, gram = _image(tokens)
    counts = np.array([count])
    assert ALIGNMENT == 256, "what TensorRT aligns tensors and workspaces to"
    select = FixedProgram(PIVOT_SELECT.name, keep, 0, plan_pivot_select(1, tokens, keep), 13, IMAGES)
    complete = FixedProgram(
        SPHERICAL_KMEANS.name, keep, ITERATIONS, plan_spherical_kmeans(1, tokens, keep), 13, IMAGES
    )  # fmt: skip
    (pivots,) = Running(emulator, select, (1, tokens), (1,))((tokens, keep), saliency, counts)
    np.testing.assert_array_equal(pivots, pivot_select(saliency, counts, keep))
    found = Running(emulator, complete, (1, tokens, tokens), (1, tokens))((tokens, keep), gram, pivots)
    for array, expected in zip(found, spherical_kmeans(gram, pivots, keep), strict=True):
        np.testing.assert_array_equal(array, expected)


def _check_shapes(
    emulator: Emulator, shapes: Sequence[tuple[int, int]], most: tuple[int, int], parts: Sequence[float] = (0, 0.3, 1)
) -> None:
    """One plugin of each operator serves all ``shapes``, of tokens and of those that stay, in a workspace for
    ``most``; of these, ``parts`` are pivots."""
    tokens, keep = most
    select = VaryingProgram(PIVOT_SELECT.name, 0, 1, MAX_TOKENS, pivot_select_recipe(1), 13, IMAGES)
    complete = VaryingProgram(SPHERICAL_KMEANS.name, 5, 1, MAX_TOKENS, spherical_kmeans_recipe(1, 5), 13, IMAGES)
    selecting = Running(emulator, select, (1, tokens), (1,), (keep,))
    completing = Running(emulator, complete, (1, tokens, tokens), (1, tokens), (keep,))
    for tokens, keep in shapes:
        saliency, gram = _image(tokens)
        for count in {int(part * keep) for part in parts}:
            counts, ranks = np.array([count]), np.arange(keep)
            (pivots,) = selecting((tokens, keep), saliency, counts, ranks)
            np.testing.assert_array_equal(pivots, pivot_select(saliency, counts, keep))
            kept, is_pivot = completing((tokens, keep), gram, pivots, ranks)
            expected = spherical_kmeans(gram, pivots, keep)
            np.testing.assert_array_equal(kept, expected[0], f"{count} pivots, {keep} of {tokens}")
            np.testing.assert_array_equal(is_pivot, expected[1])


@settings(max_examples=8, deadline=None)
@given(
    shapes=st.lists(
        st.integers(1, 90).flatmap(lambda tokens: st.tuples(st.just(tokens), st.integers(1, tokens))), max_size=4
    )
)
@example(shapes=[(90, 70), (1, 1), (31, 10), (32, 10), (33, 33), (64, 63), (65, 2), (90, 1)])
def test_one_plugin_serves_any_number_of_tokens(emulator: Emulator, shapes: list[tuple[int, int]]) -> None:
    """Neither multiples of a warp nor of a chunk of clusters, all or all but one kept, and the most there may be."""
    _check_shapes(emulator, shapes, most=(90, 90))


def test_sums_are_split_over_as_many_planes_as_a_shape_needs(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "MAX_PLANE_TOKENS", 20)
    _check_shapes(emulator, [(70, 30), (20, 6), (21, 6), (40, 9), (41, 40)], most=(70, 40))


@pytest.mark.full
def test_one_plugin_serves_the_bounds_of_what_it_takes(emulator: Emulator) -> None:
    _check_shapes(emulator, [(MAX_TOKENS, 9), (2048, 9), (150, 150)], most=(MAX_TOKENS, 150), parts=(0.3,))
