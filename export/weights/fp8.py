"""FP8, of 4 exponent bits and 3 of mantissa (E4M3): matrices of floats of 8 bits and scales.

``weight`` is ``[outputs, inputs]``; beside it lies ``weight_scale_inv`` or ``weight_scale``: one number for the matrix,
``[outputs, 1]``, ``[outputs, groups]`` by runs of inputs, or a number for each tile of the matrix, the last ones cut
off. A weight is ``value * scale``, whatever the name of the scale says. Scales of what enters the layer are left out:
here that stays floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from clasp_trt.errors import CheckpointError
from clasp_trt.export.config import UNQUANTISED
from clasp_trt.export.quantised import Quantised
from clasp_trt.export.weights.eighths import Eighths
from clasp_trt.export.weights.held import Module
from clasp_trt.export.weights.stored import FLOATS, Tensors, Weight
from clasp_trt.notice import tell

STORED = "F8_E4M3"
"""What safetensors calls the type."""
_OTHERS = ("F8_E5M2",)
_SCALES = ("weight_scale_inv", "weight_scale")
_POWERS = "F8_E8M0"
"""Scales that are powers of two."""
_ENTERING = ("input_scale", "input_scale_ub", "activation_scale", "output_scale")


def fp8(tensors: Tensors, quantised: Quantised) -> dict[str, Weight]:
    """``tensors`` where matrices of FP8 have a packing, or are float32 where no block of a graph divides what shares a
    scale. Raises :class:`CheckpointError` for what is not of this layout."""
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
    held = Eighths(weight, scale, *spread)
    return Weight(weight.key, weight.shape, "float32", held.floats, held if held.block != 0 else None)


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


def as_floats(tensors: Tensors, stays: Callable[[str], bool], source: str) -> Tensors:
    """``tensors`` where those in FP8 are floats unless ``stays`` says otherwise of their names; if there are any, a
    :class:`~clasp_trt.notice.Notice` that names ``source``."""
    gone = {
        name: replace(weight, packing=None)
        for name, weight in tensors.items()
        if isinstance(weight.packing, Eighths) and not stays(name)
    }
    if gone:
        tell(
            f"{source} is quantised in FP8, which becomes floats of the bundle's precision, or integers where "
            "--quantize rounds it anew; what enters its layers is not rounded"
        )
    return {**tensors, **gone}
