"""A checkpoint's own modules without the weights that a sparse bundle lacks."""

from __future__ import annotations

from collections.abc import Collection

import torch

from clasp_trt.bundle import Bundle
from clasp_trt.export.reference import Reference
from clasp_trt.quantization import DECODER
from clasp_trt.tools.verify.zeros import masks


def take_out(reference: Reference, bundle: Bundle, given: Collection[str]) -> None:
    """Makes zero in the decoder's layers what is zero in ``bundle``, but for the matrices that are ``given``."""
    linears = {
        f"layers.{number}.{name}.weight": layer.get_submodule(name)
        for number, (layer, names) in enumerate(zip(reference.parts[DECODER], reference.linears(), strict=True))
        for name in names
    }
    shapes = {name: tuple(module.weight.shape) for name, module in linears.items()}
    for name, zeros in masks(bundle, shapes):
        if name not in given:
            weight = linears[name].weight.detach().masked_fill(torch.from_numpy(zeros), 0)
            linears[name].weight = torch.nn.Parameter(weight, requires_grad=False)
