"""Rounded weights: their integers, their scales, and what a graph makes of them."""

from __future__ import annotations

import os
import tracemalloc
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from clasp_trt.errors import CheckpointError
from clasp_trt.export.graph import GraphBuilder, Integers
from clasp_trt.export.weights.graph import Weights
from clasp_trt.export.weights.packing import unpacked
from clasp_trt.export.weights.rounding import Rounded, rounded
from clasp_trt.export.weights.stored import Weight
from clasp_trt.export.weights.transforms import cast, tied
from clasp_trt.notice import Notice
from clasp_trt.quantization import INT8, PARTS, Quantization, Scheme
from tests import rounding
from tests.mistakes import says

NAME = "decoder.layers.0.mlp.up_proj.weight"


def weight(matrix: NDArray[Any] | torch.Tensor, key: str = "on.disk") -> Weight:
    tensor = matrix if isinstance(matrix, torch.Tensor) else torch.from_numpy(matrix)
    return Weight(key, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), lambda: tensor)


def weights(matrix: NDArray[Any], scheme: Scheme, dtype: str = "float32", name: str = NAME) -> Weights:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        return Weights(cast(rounded({name: weight(matrix)}, Quantization({"decoder": scheme})), dtype))


def noise(outputs: int, inputs: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(outputs, inputs)).astype(np.float32)


MATRICES = st.tuples(st.integers(1, 5), st.integers(1, 4)).flatmap(
    lambda sizes: arrays.arrays(
        np.float32,
        (sizes[0], 16 * sizes[1]),
        elements=st.floats(-(2.0**90), 2.0**90, width=32)
        | st.sampled_from([0.0, 0.5, 1.5, 2.5, -3.5, 7.0, 127.0, 1e-45]),
    )
)


@pytest.mark.parametrize(("bits", "block"), [(4, 16), (8, None)])
@settings(max_examples=40, deadline=None)
@given(matrix=MATRICES)
def test_it_is_the_definition(bits: int, block: int | None, matrix: NDArray[np.float32]) -> None:
    """Ties go to the even integer, and blocks of zeros have the scale 1."""
    found = Rounded(weight(matrix), bits, block)
    values, scales = rounding.rounded(matrix, bits, block)
    np.testing.assert_array_equal(found.values("float32"), values)
    np.testing.assert_array_equal(found.scales("float32"), scales)
    whole = unpacked(found, "float32").numpy()
    np.testing.assert_array_equal(whole, rounding.floats(values, scales))
    wide = np.repeat(scales, matrix.shape[1] // scales.shape[1], axis=1).astype(np.float64)
    assert (np.abs(whole - matrix.astype(np.float64)) <= wide * (0.5 + 1e-5)).all()


def test_what_is_rounded_stays_as_it_is() -> None:
    once = unpacked(Rounded(weight(noise(6, 64)), 4, 32), "float32")
    twice = unpacked(Rounded(weight(once), 4, 32), "float32")
    torch.testing.assert_close(twice, once, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_integers_are_those_of_the_scales_that_are_kept(dtype: str) -> None:
    matrix = noise(4, 64)
    found = Rounded(weight(matrix), 4, 32)
    scales = found.scales(dtype)
    expected = torch.from_numpy(rounding.rounded(matrix, 4, 32)[1]).to(getattr(torch, dtype))
    np.testing.assert_array_equal(scales.astype(np.float32), expected.float().numpy())
    near = np.rint(matrix.reshape(4, 2, 32) / scales.astype(np.float32)[..., None]).clip(-7, 7)
    np.testing.assert_array_equal(found.values(dtype), near.reshape(4, 64))


def test_more_rows_than_are_wide_at_once() -> None:
    matrix = noise(5, 1 << 20)
    found = Rounded(weight(matrix), 8, None)
    scales = np.abs(matrix).max(1, keepdims=True) / np.float32(127)
    np.testing.assert_array_equal(found.scales("float32"), scales)
    np.testing.assert_array_equal(found.values("float32"), np.rint(matrix / scales))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["values", "scales"])
def test_what_is_not_finite_is_refused_by_name(bad: float, part: str) -> None:
    matrix = noise(3, 32)
    matrix[2, 31] = bad
    packing = Rounded(weight(matrix, "model.layers.7.up.weight"), 4, 32)
    with pytest.raises(CheckpointError) as refused:
        getattr(packing, part)("float32")
    says(refused, "model.layers.7.up.weight", "not finite", "--quantize")


def test_a_scale_beyond_the_type_is_refused_by_name() -> None:
    packing = Rounded(weight(np.full((2, 32), 1e6, np.float32)), 4, 32)
    with pytest.raises(CheckpointError) as refused:
        packing.scales("float16")
    says(refused, "on.disk", "float16", "--precision bf16 or fp32")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("scheme", [Scheme(4, 32), Scheme(4, 128), INT8])
def test_a_graph_multiplies_by_what_they_stand_for(scheme: Scheme, dtype: str) -> None:
    """Stored as ``[outputs, inputs]``, held as ``[inputs, outputs]``; an odd number of integers fills its last byte."""
    matrix = noise(7, 96)
    made = weights(matrix, scheme, dtype).linear(NAME.removesuffix(".weight"), 96, 7)
    assert isinstance(made, Integers)
    whole = unpacked(Rounded(weight(matrix), *rounding.halved((scheme.bits, scheme.block), 96)), dtype)
    np.testing.assert_array_equal(_floats(made, (96, 7), dtype), whole.numpy().T)


def test_a_matrix_that_is_stored_the_other_way_round() -> None:
    """Its scales are still by output."""
    matrix = noise(32, 5)
    stored = weight(matrix)
    held = replace(stored, packing=Rounded(stored, 4, 32, by_input=True))
    made = Weights(cast({"w": held}, "float32")).matrix("w", (32, 5))
    assert isinstance(made, Integers)
    assert tuple(made.scales.shape) == (1, 5)
    expected = rounding.floats(*rounding.rounded(np.ascontiguousarray(matrix.T), 4, 32)).T
    np.testing.assert_array_equal(_floats(made, (32, 5), "float32"), expected)


def test_a_packing_with_zeros_from_elsewhere() -> None:
    """Whatever describes itself as one is held as one: here unsigned integers less 8, and zeros."""

    class Awkward(Rounded):
        def values(self, dtype: str) -> NDArray[np.int8]:
            return np.arange(64, dtype=np.int8).reshape(2, 32) % 16 - 8

        def scales(self, dtype: str) -> NDArray[Any]:
            return np.array([[0.5, 2], [1, 0.25]], np.float32)

        def zeros(self) -> NDArray[np.int8]:
            return np.array([[1, -2], [0, 3]], np.int8)

    packed = Awkward(weight(noise(2, 32)), 4, 16, has_zeros=True)
    held = Weight("w", (2, 32), "float32", lambda: pytest.fail("read"), packed)
    made = Weights(cast({"w.weight": held}, "float32"))
    zeros = np.repeat(packed.zeros(), 16, axis=1)
    expected = (packed.values("float32") - zeros) * np.repeat(packed.scales("float32"), 16, axis=1)
    matrix = made.linear("w", 32, 2)
    assert isinstance(matrix, Integers)
    np.testing.assert_array_equal(_floats(matrix, (32, 2), "float32"), expected.T)
    np.testing.assert_array_equal(made.tensor("w.weight").numpy(), expected)
    assert made.nbytes("") == 32 + 4 * 4 + 2


def test_matrices_alone_are_rounded() -> None:
    names = {
        "tower.embeddings.position_embedding.weight": (17, 32),
        "tower.patch_embed.proj.weight": (32, 48),
        "tower.layers.0.norm.weight": (32,),
        "tower.layers.0.fc.bias": (32,),
        "tower.layers.0.fc.weight": (32, 32),
        "projector.linear_1.weight": (32, 32),
        "projector.mm_input_projection_weight": (32, 32),
        "decoder.layers.0.mlp.up_proj.weight": (32, 32),
        "decoder.norm.weight": (32,),
        "newline": (32,),
    }
    tensors = {name: weight(np.ones(shape, np.float32)) for name, shape in names.items()}
    every = Quantization(dict.fromkeys(PARTS, INT8))
    packed = {name for name, each in rounded(tensors, every).items() if each.packing is not None}
    assert packed == {"tower.layers.0.fc.weight", "projector.linear_1.weight", "decoder.layers.0.mlp.up_proj.weight"}


def test_a_tied_head_and_its_embedding_are_rounded_each_by_its_own_scheme() -> None:
    head, embedding = "decoder.lm_head.weight", "decoder.embed_tokens.weight"
    tensors = tied({embedding: weight(noise(8, 32))}, head, embedding)
    made = rounded(tensors, Quantization({"head": Scheme(4, 32), "embedding": INT8}))
    found = {name: each.packing for name, each in made.items()}
    assert found[head] is not None
    assert found[embedding] is not None
    assert (found[head].bits, found[embedding].bits) == (4, 8)
    alone = rounded(tensors, Quantization({"head": INT8}))
    assert alone[embedding].packing is None


def test_blocks_are_halved_until_they_divide_the_inputs_which_is_said() -> None:
    tensors = {NAME: weight(np.ones((2, 96), np.float32), "on.disk.96")}
    with pytest.warns(Notice) as told:
        made = rounded(tensors, Quantization({"decoder": Scheme(4, 128)}))
    assert made[NAME].packing is not None
    assert made[NAME].packing.block == 32
    says(told[0].message, "on.disk.96", "decoder", "128", "32")


def test_inputs_that_no_block_divides_are_refused_by_name() -> None:
    tensors = {NAME: weight(np.ones((2, 40), np.float32), "on.disk.40")}
    with pytest.raises(CheckpointError) as refused:
        rounded(tensors, Quantization({"decoder": Scheme(4, 128)}))
    says(refused, "on.disk.40", "40", "16", "decoder=int8")


@pytest.mark.parametrize(("scheme", "size"), [(Scheme(4, 32), 8 * 48 + 8 * 3 * 2), (INT8, 8 * 96 + 8 * 2)])
def test_bytes_are_told_before_anything_is_read(scheme: Scheme, size: int) -> None:
    unread = Weight("w", (8, 96), "float32", lambda: pytest.fail("read"))
    made = Weights(cast(rounded({NAME: unread}, Quantization({"decoder": scheme})), "float16"))
    assert made.nbytes("decoder.") == size == scheme.nbytes(8, 96, 2)
    tensor = made.matrix(NAME)
    assert isinstance(tensor, Integers)
    assert tensor.values.nbytes + tensor.scales.nbytes == size


@pytest.mark.parametrize("scheme", [Scheme(4, 128), pytest.param(INT8, marks=pytest.mark.full)])
def test_a_matrix_is_written_in_less_memory_than_its_floats_turned_round_take(scheme: Scheme) -> None:
    matrix = noise(4096, 4096)
    made = weights(matrix, scheme).linear(NAME.removesuffix(".weight"), 4096, 4096)
    assert isinstance(made, Integers)
    tracemalloc.start()
    for tensor in (made.values, made.scales):
        with open(os.devnull, "wb") as file:
            file.write(tensor.tobytes())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.values.nbytes < peak <= matrix.nbytes


def _floats(made: Integers, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """What ONNX Runtime makes of the node that a graph has for them."""
    g = GraphBuilder("one", "A test.")
    value = g.weight("w", made)
    g.output(g.op("Identity", value), "y", dtype, shape, "the floats")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    found: NDArray[Any] = ort.InferenceSession(ir.to_proto(g.model()).SerializeToString(), options).run(None, {})[0]
    return found


def test_a_writer_reads_a_weight_once() -> None:
    matrix, reads = torch.from_numpy(noise(6, 64)), list[str]()

    def read() -> torch.Tensor:
        reads.append("read")
        return matrix

    packed = Rounded(replace(weight(matrix), read=read), 4, 32)
    fresh = Rounded(weight(matrix), 4, 32)
    packed.values("float16")
    scales = packed.scales("float16")
    assert len(reads) == 1
    np.testing.assert_array_equal(scales, fresh.scales("float16"))
    np.testing.assert_array_equal(packed.scales("float32"), fresh.scales("float32"))


@pytest.mark.parametrize("outputs", [4, 5])
def test_halves_of_a_byte_are_two_outputs_whether_these_are_even_or_odd(outputs: int) -> None:
    matrix = noise(outputs, 32)
    held = weights(matrix, Scheme(4, 32)).linear(NAME.removesuffix(".weight"), 32, outputs)
    assert isinstance(held, Integers)
    octets = np.frombuffer(held.values.tobytes(), np.uint8)
    nibbles = np.stack([octets & 0x0F, octets >> 4], axis=1).reshape(-1)[: matrix.size].astype(np.int8)
    expected = Rounded(weight(matrix), 4, 32).values("float32").T
    np.testing.assert_array_equal(((nibbles ^ 8) - 8).reshape(32, outputs), expected)
