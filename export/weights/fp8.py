"""FP8, of 4 exponent bits and 3 of mantissa (E4M3): matrices of floats of 8 bits and scales.

``weight`` is ``[outputs, inputs]``; beside it lies ``weight_scale_inv`` or ``weight_scale``: one number for the matrix,
``[outputs, 1]``, ``[outputs, groups]`` by runs of inputs, or a number for each tile of the matrix, the last ones cut
off. A weight is ``value * scale``, whatever the name of the scale says. Scales of what enters the layer are left out:
here that stays floats.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from clasp_trt.errors import CheckpointError
from clasp_trt.export.config import UNQUANTISED
from clasp_trt.export.quantised import Quantised
from clasp_trt.export.weights.held import Module
from clasp_trt.export.weights.stored import FLOATS, Tensors, Weight

if TYPE_CHECKING:
    import torch

STORED = "F8_E4M3"
"""What safetensors calls the type."""
_OTHERS = ("F8_E5M2",)
_SCALES = ("weight_scale_inv", "weight_scale")
_POWERS = "F8_E8M0"
"""Scales that are powers of two."""
_ENTERING = ("input_scale", "input_scale_ub", "activation_scale", "output_scale")


def fp8(tensors: Tensors, quantised: Quantised) -> dict[str, Weight]:
    """``tensors`` where matrices of FP8 are float32, products that are rounded once. Raises :class:`CheckpointError`
    for what is not of this layout and, once it is read, for values that are not finite."""
    found = dict(tensors)
    for key, weight in tensors.items():
        name, _, part = key.rpartition(".")
        if part == "weight" and weight.dtype in _OTHERS:
            raise CheckpointError(f"the tensor {weight.key} has type {weight.dtype}, expected {STORED}; {UNQUANTISED}")
        if part == "weight" and weight.dtype == STORED:
            found[key] = _read(Module(name, tensors), quantised.tile)
            for other in (*_SCALES, *_ENTERING):
                found.pop(f"{name}.{other}", None)
    return found


def _read(module: Module, tile: tuple[int, int] | None) -> Weight:
    weight = module.part("weight", (STORED,))
    part = next((each for each in _SCALES if module.find(each) is not None), _SCALES[0])
    scale = module.part(part, (*FLOATS.values(), _POWERS), rank=None)
    spread = _spread(scale.shape, weight.shape, tile)
    if spread is None:
        tiles = "" if tile is None else f", or one for each {tile[0]} by {tile[1]} of it"
        raise module.wrong(part, f"a scale for its {list(weight.shape)}, one for each output or run of inputs{tiles}")
    return Weight(weight.key, weight.shape, "float32", partial(_floats, weight, scale, spread))


def _spread(scales: tuple[int, ...], shape: tuple[int, ...], tile: tuple[int, int] | None) -> tuple[int, int] | None:
    """Outputs and inputs that share a scale; None if these ``scales`` are not of a matrix of that ``shape``."""
    outputs, inputs = shape
    if math.prod(scales) == 1:
        return outputs, inputs
    if tile is not None and scales == (-(-outputs // tile[0]), -(-inputs // tile[1])):
        return tile
    if scales == (outputs,):
        return 1, inputs
    if len(scales) == 2 and scales[0] == outputs and scales[1] and inputs % scales[1] == 0:
        return 1, inputs // scales[1]
    return None


def _floats(weight: Weight, scale: Weight, spread: tuple[int, int]) -> torch.Tensor:
    import torch

    found, (high, wide) = weight.read().to(torch.float32), spread
    outputs, inputs = found.shape
    scales = scale.read().to(torch.float32).reshape(-(-outputs // high), -(-inputs // wide))
    for name, values in ((weight.key, found), (scale.key, scales)):
        if not bool(values.isfinite().all()):
            raise CheckpointError(f"the tensor {name} holds values that are not finite; take a sound copy")
    by_input = scales.repeat_interleave(wide, dim=1)[:, :inputs]
    for row, factors in enumerate(by_input):
        found[row * high : (row + 1) * high] *= factors
    return found
