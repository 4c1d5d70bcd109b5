"""Matrices that checkpoints hold as integers: what is read is what a second implementation packed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clasp_trt.errors import CheckpointError
from clasp_trt.export.graph import Integers
from clasp_trt.export.quantised import Quantised
from clasp_trt.export.weights.awq import awq
from clasp_trt.export.weights.compressed import compressed
from clasp_trt.export.weights.gptq import gptq
from clasp_trt.export.weights.graph import Weights
from clasp_trt.export.weights.held import Held, looked_up
from clasp_trt.export.weights.stored import Weight
from clasp_trt.export.weights.transforms import cast
from clasp_trt.quantization import INT8, Scheme
from tests import quantised as packer
from tests.export.weights.test_rounding import _floats
from tests.mistakes import says

V1 = Quantised("gptq", "gptq", None, INT8)
READ: dict[str, Callable[[dict[str, Weight]], dict[str, Weight]]] = {
    "gptq": partial(gptq, quantised=V1),
    "gptq_v2": partial(gptq, quantised=Quantised("gptq", "gptq_v2", None, INT8)),
    "awq": partial(awq, quantised=Quantised("awq", "gemm", 4, INT8)),
    "pack": partial(compressed, quantised=Quantised("compressed-tensors", "pack-quantized", None, INT8)),
    "int": partial(compressed, quantised=Quantised("compressed-tensors", "int-quantized", None, INT8)),
}
PACK: dict[str, packer.Pack] = {
    "gptq": packer.gptq,
    "gptq_v2": partial(packer.gptq, version=2),
    "awq": packer.awq,
    "pack": packer.pack_quantized,
    "pack, zeros whole": partial(packer.pack_quantized, zeros="whole"),
    "pack, no zeros": partial(packer.pack_quantized, zeros=None),
    "int": packer.int_quantized,
}
_TYPES = {torch.int32: "I32", torch.int64: "I64", torch.int8: "I8"}


def stored(tensors: packer.Tensors) -> dict[str, Weight]:
    def weight(name: str, tensor: torch.Tensor) -> Weight:
        kind = _TYPES.get(tensor.dtype, str(tensor.dtype).removeprefix("torch."))
        return Weight(f"m.{name}", tuple(tensor.shape), kind, lambda: tensor)

    return {"other.bias": weight("bias", torch.ones(3)), **{f"m.{k}": weight(k, v) for k, v in tensors.items()}}


def matrix(bits: int, group: int, *, symmetric: bool, shape: tuple[int, int] = (24, 256), exact: bool = True) -> Any:
    """With scales that bfloat16 has as well."""
    weights = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = packer.quantised(weights, bits, group, symmetric=symmetric)
    scales = torch.from_numpy(found.s).to(torch.bfloat16).to(torch.float16).numpy() if exact else found.s
    return packer.Matrix(found.q, found.z, scales, bits)


def read(name: str, tensors: packer.Tensors) -> dict[str, Weight]:
    return READ[name.partition(",")[0]](stored(tensors))


@pytest.mark.parametrize(
    ("name", "bits", "group", "symmetric", "scheme"),
    [
        ("gptq", 4, 128, True, Scheme(4, 128)),
        ("gptq", 4, 32, False, Scheme(4, 32, zeros=True)),
        ("gptq", 4, -1, True, Scheme(4, 128)),
        ("gptq", 8, 64, True, Scheme(8, 64)),
        ("gptq", 8, -1, True, INT8),
        ("gptq", 8, -1, False, Scheme(8, 128, zeros=True)),
        ("gptq_v2", 4, 64, False, Scheme(4, 64, zeros=True)),
        ("gptq_v2", 8, 128, True, Scheme(8, 128)),
        ("awq", 4, 128, False, Scheme(4, 128, zeros=True)),
        ("awq", 4, 16, False, Scheme(4, 16, zeros=True)),
        ("pack", 4, 32, False, Scheme(4, 32, zeros=True)),
        ("pack", 8, 128, False, Scheme(8, 128, zeros=True)),
        ("pack, zeros whole", 4, 64, False, Scheme(4, 64, zeros=True)),
        ("pack, no zeros", 4, 128, True, Scheme(4, 128)),
        ("pack, no zeros", 8, -1, True, INT8),
        ("int", 8, -1, True, INT8),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_graph_multiplies_by_what_the_checkpoint_holds(
    name: str, bits: int, group: int, symmetric: bool, scheme: Scheme, dtype: str
) -> None:
    """To the last bit: a product of an integer and a scale, rounded once to the graph's type."""
    packed = matrix(bits, group, symmetric=symmetric)
    tensors = read(name, PACK[name](packed))
    assert set(tensors) == {"other.bias", "m.weight"}
    held = tensors["m.weight"].packing
    assert isinstance(held, Held)
    assert held.scheme == scheme
    made = Weights(cast(tensors, dtype))
    linear = made.linear("m", 256, 24)
    assert isinstance(linear, Integers)
    expected = packed.floats.astype(dtype)
    np.testing.assert_array_equal(_floats(linear, (256, 24), dtype), expected.T)
    np.testing.assert_array_equal(made.tensor("m.weight").numpy(), expected)
    assert scheme.nbytes(24, 256, np.dtype(dtype).itemsize) == made.nbytes("m.")


def test_inputs_that_do_not_fill_the_last_word() -> None:
    packed = matrix(4, -1, symmetric=True, shape=(24, 20))
    tensors = read("pack", packer.pack_quantized(packed, zeros=None))
    with pytest.raises(CheckpointError) as refused:
        Weights(cast(tensors, "float32")).linear("m", 20, 24)
    says(refused, "m.weight_packed", "20 inputs", "16", "--quantize int4")
    whole = matrix(8, -1, symmetric=True, shape=(23, 22))
    held = read("pack", packer.pack_quantized(whole, zeros=None))["m.weight"].packing
    assert held is not None
    np.testing.assert_array_equal(held.values("float32").astype(int) + 128, whole.q)


def test_scales_that_the_type_of_a_graph_rounds_are_refused_by_name() -> None:
    tensors = read("gptq", packer.gptq(matrix(4, 32, symmetric=True, exact=False)))
    made = Weights(cast(tensors, "bfloat16")).linear("m", 256, 24)
    assert isinstance(made, Integers)
    with pytest.raises(CheckpointError) as refused:
        made.scales.numpy()
    says(refused, "m.scales", "float16", "bfloat16", "--precision fp16 or fp32")


@pytest.mark.parametrize(("name", "index"), [("gptq", "g_idx"), ("gptq_v2", "g_idx"), ("pack", "weight_g_idx")])
@pytest.mark.parametrize("symmetric", [True, False])
def test_inputs_in_groups_by_their_activations(name: str, index: str, symmetric: bool) -> None:
    """Scales and zero points are those of the group that each input says, and rows are put into the order that the
    integers are in."""
    of = np.random.default_rng(0).permutation(np.arange(256) // 32)
    packed, x = replace(matrix(4, 32, symmetric=symmetric), own=of), np.random.default_rng(1).normal(size=(3, 256))
    tensors, floats = {**PACK[name](packed), index: torch.from_numpy(of.astype(np.int32))}, packed.floats
    made = Weights(cast(read(name, tensors), "float32"))
    np.testing.assert_array_equal(made.tensor("m.weight").numpy(), floats)
    linear = made.linear("m", 256, 24)
    assert isinstance(linear, Integers)
    assert linear.order is not None
    inside = _floats(linear, (256, 24), "float32")
    np.testing.assert_array_equal(inside, floats.T[linear.order])
    np.testing.assert_allclose(x[:, linear.order] @ inside, x @ floats.T, rtol=1e-12, atol=1e-12)


def test_groups_of_several_sizes_are_refused_by_name() -> None:
    tensors = packer.gptq(matrix(4, 32, symmetric=True))
    tensors["g_idx"][0] = 1
    with pytest.raises(CheckpointError) as refused:
        read("gptq", tensors)
    says(refused, "m.g_idx", "32 inputs", "download it again")


def test_an_order_that_is_none_is_taken() -> None:
    """``desc_act`` with static groups, and any checkpoint without ``g_idx``."""
    packed = matrix(4, 32, symmetric=True)
    tensors = packer.gptq(packed)
    del tensors["g_idx"]
    np.testing.assert_array_equal(read("gptq", tensors)["m.weight"].read().numpy(), packed.floats.astype(np.float16))


def test_a_zero_point_that_libraries_read_differently_is_refused_by_name() -> None:
    packed = matrix(4, 32, symmetric=False)
    packed.z[3, 2] = 0
    tensors = packer.gptq(packer.Matrix(packed.q, np.where(packed.z == 0, 16, packed.z), packed.s, 4))
    with pytest.raises(CheckpointError) as refused:
        Weights(cast(read("gptq", tensors), "float32")).linear("m", 256, 24)
    says(refused, "m.qzeros", "gptq_v2")
    kept = Weights(cast(read("gptq_v2", packer.gptq(packed, version=2)), "float32")).tensor("m.weight").numpy()
    np.testing.assert_array_equal(kept, packed.floats)


@pytest.mark.parametrize(
    ("name", "part", "change", "said"),
    [
        ("gptq", "scales", None, "lacks the tensor m.scales"),
        ("gptq", "qzeros", None, "lacks the tensor m.qzeros"),
        ("gptq", "qzeros", lambda t: t[:, :-1], "m.qzeros"),
        ("gptq", "qweight", lambda t: t[:, :-1], "m.qweight"),
        ("gptq", "qweight", lambda t: t[:-1], "m.g_idx"),
        ("gptq", "scales", lambda t: t[:-1], "m.qzeros"),
        ("gptq", "g_idx", lambda t: t.float(), "m.g_idx"),
        ("gptq", "qweight", lambda t: t.float(), "m.qweight"),
        ("awq", "qweight", lambda t: t[:, :-1], "m.qweight"),
        ("awq", "qzeros", lambda t: t[:-1], "m.qzeros"),
        ("awq", "scales", lambda t: t.to(torch.int32), "m.scales"),
        ("pack", "weight_packed", lambda t: t[:, :-1], "m.weight_packed"),
        ("pack", "weight_shape", None, "lacks the tensor m.weight_shape"),
        ("pack", "weight_shape", lambda t: t[:1], "m.weight_shape"),
        ("pack", "weight_scale", lambda t: t[:-1], "m.weight_scale"),
        ("pack", "weight_scale", lambda t: t[:, :3], "m.weight_scale"),
        ("pack", "weight_zero_point", lambda t: t[:-1], "m.weight_zero_point"),
        ("int", "weight", lambda t: t.float(), "m.weight"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_refused_by_name(name: str, part: str, change: Any, said: str) -> None:
    tensors = PACK[name](matrix(8 if name == "int" else 4, -1 if name == "int" else 32, symmetric=True))
    if change is None:
        del tensors[part]
    else:
        tensors[part] = change(tensors[part])
    with pytest.raises(CheckpointError) as refused:
        read(name, tensors)
    says(refused, said, "download it again")


def test_bits_are_those_that_the_config_says() -> None:
    said = Quantised("gptq", "gptq", 8, INT8)
    with pytest.raises(CheckpointError) as refused:
        gptq(stored(packer.gptq(matrix(4, 32, symmetric=True))), said)
    says(refused, "m.qzeros", "8 bits")


def test_a_table_of_integers_that_cannot_be_looked_up_is_floats() -> None:
    packed = matrix(4, 32, symmetric=True)
    tensors = read("gptq", packer.gptq(packed))
    table = looked_up(tensors, "m.weight")["m.weight"]
    assert table.packing is None
    found: NDArray[Any] = table.read().numpy()
    np.testing.assert_array_equal(found, packed.floats.astype(np.float16))
    whole = read("int", packer.int_quantized(matrix(8, -1, symmetric=True)))
    assert looked_up(whole, "m.weight")["m.weight"].packing is not None
