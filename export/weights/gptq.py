"""GPTQ: what AutoGPTQ and GPTQModel write for a linear layer of ``inputs`` and ``outputs``, ``n`` = 32 / bits.

``qweight`` int32 ``[inputs / n, outputs]``, a word holding the integers of ``n`` inputs; ``qzeros`` int32
``[groups, outputs / n]``, a word holding the zero points of ``n`` outputs, each less 1 in the first version of the
format; ``scales`` ``[groups, outputs]``; ``g_idx`` int32 ``[inputs]``, the group of each input. A weight is
``(integer - zero) * scale``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from clasp_trt.errors import CheckpointError
from clasp_trt.export.quantised import Quantised
from clasp_trt.export.weights.held import Held, Integers, Module, taken, words
from clasp_trt.export.weights.stored import Tensors, Weight

_PARTS = ("qweight", "qzeros", "scales", "g_idx")


def gptq(tensors: Tensors, quantised: Quantised) -> dict[str, Weight]:
    """The matrices that are stored so. Raises :class:`CheckpointError` for what is not of this layout."""
    return taken(tensors, "qweight", partial(_read, quantised=quantised), _PARTS)


def _read(module: Module, quantised: Quantised) -> Held:
    weight, zeros, scale = module.part("qweight", ("I32",)), module.part("qzeros", ("I32",)), module.scale("scales")
    groups, outputs = scale.shape
    bits = 32 * zeros.shape[1] // max(outputs, 1)
    if bits not in (4, 8) or quantised.bits not in (None, bits):
        raise module.wrong("qzeros", f"zero points of {quantised.bits or '4 or 8'} bits for {outputs} outputs")
    inputs = weight.shape[0] * 32 // bits
    module.check("qweight", (weight.shape[0], outputs))
    module.check("qzeros", (groups, outputs * bits // 32))
    module.check("g_idx", (inputs,))
    group = module.group(inputs, groups, "scales")
    order, less = module.order("g_idx", group), quantised.layout == "gptq"
    return Held(weight.key, (outputs, inputs), bits, group, partial(_values, weight, bits),
                partial(_zeros, zeros, bits, less), scale, order=order)  # fmt: skip


def _values(weight: Weight, bits: int) -> Integers:
    found = words(weight.read().numpy(), bits)  # [words, outputs, n]
    by_output: Integers = found.transpose(1, 0, 2).reshape(found.shape[1], -1)
    return by_output


def _zeros(zeros: Weight, bits: int, less: bool) -> Integers:
    found = words(zeros.read().numpy(), bits)  # [groups, words, n]
    by_output = np.ascontiguousarray(found.reshape(len(found), -1).T)
    if not less:
        return by_output
    if bool((by_output == 2**bits - 1).any()):
        raise CheckpointError(
            f"the tensor {zeros.key} holds zero points of {2**bits - 1} less 1, which libraries read differently (as "
            f"{2**bits}, as 0, or with a carry); give a checkpoint of checkpoint_format gptq_v2"
        )
    more: Integers = by_output + np.uint8(1)
    return more
