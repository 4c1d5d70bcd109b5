"""compressed-tensors: what llm-compressor writes for a linear layer of ``inputs`` and ``outputs``, ``n`` = 32 / bits.

In ``pack-quantized`` ``weight_packed`` is int32 ``[outputs, inputs / n]``, a word holding ``n`` inputs, each plus half
the range, the last word filled up; ``weight_shape`` is ``[outputs, inputs]``. In ``int-quantized`` ``weight`` is int8
``[outputs, inputs]``. Both have ``weight_scale`` ``[outputs, groups]`` and perhaps ``weight_zero_point``: int8
``[outputs, groups]``, or int32 ``[outputs / n, groups]``, a word holding ``n`` outputs. A weight is
``(integer - zero) * scale``. ``float-quantized`` is :mod:`~clasp_trt.export.weights.fp8`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from clasp_trt.errors import CheckpointError
from clasp_trt.export.quantised import Quantised
from clasp_trt.export.weights.fp8 import fp8
from clasp_trt.export.weights.held import Held, Integers, Module, taken, words
from clasp_trt.export.weights.stored import Tensors, Weight

_COMMON = ("weight_scale", "weight_zero_point", "weight_g_idx")


def compressed(tensors: Tensors, quantised: Quantised) -> dict[str, Weight]:
    """The matrices that are stored so. Raises :class:`CheckpointError` for what is not of this layout."""
    if quantised.layout == "float-quantized":
        return fp8(tensors, quantised)
    if quantised.layout == "int-quantized":
        return taken(tensors, "weight_scale", _whole, _COMMON)
    return taken(tensors, "weight_packed", _packed, ("weight_packed", "weight_shape", *_COMMON))


def _whole(module: Module) -> Held:
    weight = module.part("weight", ("I8",))
    outputs, inputs = weight.shape
    return _held(module, weight, (outputs, inputs), 8, partial(_octets, weight))


def _packed(module: Module) -> Held:
    weight = module.part("weight_packed", ("I32",))
    shape = module.part("weight_shape", ("I32", "I64"), rank=1)
    module.check("weight_shape", (2,))
    outputs, inputs = (int(size) for size in shape.read())
    bits = next((bits for bits in (4, 8) if -(-inputs * bits // 32) == weight.shape[1]), None)
    if bits is None or weight.shape[0] != outputs:
        raise module.wrong("weight_packed", f"{outputs} rows of {inputs} integers of 4 or 8 bits")
    return _held(module, weight, (outputs, inputs), bits, partial(_rows, weight, bits, inputs))


def _held(module: Module, weight: Weight, shape: tuple[int, int], bits: int, values: partial[Integers]) -> Held:
    (outputs, inputs), scale = shape, module.scale("weight_scale")
    groups = scale.shape[1]
    module.check("weight_scale", (outputs, groups))
    group = module.group(inputs, groups, "weight_scale")
    order = module.order("weight_g_idx", group)
    zeros = None
    if module.find("weight_zero_point") is not None:
        zeros = module.part("weight_zero_point", ("I8", "I32"))
        words_of = outputs if zeros.dtype == "I8" else -(-outputs * bits // 32)
        module.check("weight_zero_point", (words_of, groups))
    return Held(weight.key, shape, bits, group, values, partial(_zeros, zeros, bits, outputs), scale,
                scale_by_output=True, order=order)  # fmt: skip


def _octets(weight: Weight) -> Integers:
    """Of signed 8-bit integers those plus 128."""
    found: Integers = weight.read().numpy().view(np.uint8) ^ np.uint8(0x80)
    return found


def _rows(weight: Weight, bits: int, inputs: int) -> Integers:
    found = words(weight.read().numpy(), bits)
    return np.ascontiguousarray(found.reshape(len(found), -1)[:, :inputs])


def _zeros(zeros: Weight | None, bits: int, outputs: int) -> Integers | None:
    if zeros is None:
        return None
    if zeros.dtype == "I8":
        middle = 2 ** (bits - 1)
        signed = zeros.read().numpy().astype(np.int16)
        if bool((signed < -middle).any() or (signed >= middle).any()):
            raise CheckpointError(f"the tensor {zeros.key} holds zero points beyond {bits} bits; download it again")
        found: Integers = (signed + middle).astype(np.uint8)
        return found
    held = words(np.ascontiguousarray(zeros.read().numpy().T), bits)  # [groups, words, n]
    return np.ascontiguousarray(held.reshape(len(held), -1)[:, :outputs].T)
