"""AWQ in its ``gemm`` version: what AutoAWQ writes for a linear layer of ``inputs`` and ``outputs``.

``qweight`` int32 ``[inputs, outputs / 8]``, a word holding the integers of 8 outputs in the order 0, 2, 4, 6, 1, 3, 5,
7; ``qzeros`` int32 ``[groups, outputs / 8]`` likewise; ``scales`` ``[groups, outputs]``. A weight is
``(integer - zero) * scale``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from clasp_trt.export.quantised import Quantised
from clasp_trt.export.weights.held import Held, Integers, Module, taken, words
from clasp_trt.export.weights.stored import Tensors, Weight

_BITS, _WORD = 4, 8
_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_PARTS = ("qweight", "qzeros", "scales")


def awq(tensors: Tensors, quantised: Quantised) -> dict[str, Weight]:
    """The matrices that are stored so. Raises :class:`CheckpointError` for what is not of this layout."""
    return taken(tensors, "qweight", _read, _PARTS)


def _read(module: Module) -> Held:
    weight, scale = module.part("qweight", ("I32",)), module.scale("scales")
    (inputs, packed), (groups, outputs) = weight.shape, scale.shape
    if packed * _WORD != outputs:
        raise module.wrong("qweight", f"an eighth of {outputs} columns")
    zeros = None if module.find("qzeros") is None else module.part("qzeros", ("I32",))
    module.check("qzeros", (groups, packed))
    group = module.group(inputs, groups, "scales")
    return Held(weight.key, (outputs, inputs), _BITS, group, partial(_columns, weight), partial(_zeros, zeros), scale)


def _zeros(zeros: Weight | None) -> Integers | None:
    return None if zeros is None else _columns(zeros)


def _columns(stored: Weight) -> Integers:
    """Of words ``[rows, outputs / 8]``, the integers ``[outputs, rows]``."""
    held = words(stored.read().numpy(), _BITS)
    found = np.empty_like(held)
    found[..., list(_ORDER)] = held
    return np.ascontiguousarray(found.reshape(len(found), -1).T)
