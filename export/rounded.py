"""A checkpoint's own modules with weights rounded as an export does, and rows as CPUs round them before products.

The weights are those of ``nn.Linear`` and the embedding table of each part, whatever they are called on disk.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from clasp_trt.export.weights.packing import Packing, unpacked
from clasp_trt.export.weights.rounding import Rounded
from clasp_trt.export.weights.stored import Weight
from clasp_trt.quantization import DECODER, Quantization, Scheme

_MOST = 127.0


class RoundedModules:
    """``parts`` of a model, by the names of :data:`clasp_trt.quantization.PARTS`, with their weights replaced by what
    ``quantization`` rounds them to, scales in ``dtype``. A tied weight becomes two. ``inside`` are matrices of the
    decoder's layers as a graph holds them, by their names there; where they are ``given``, by a calibration, they are
    taken, not rounded to the nearest. Of parts that the checkpoint itself has ``held`` as integers the weights stay.

    ``errors`` are the changes of each part that is rounded, and ``changed`` those of each matrix that was given, root
    mean square over that of its weights. ``steps`` are by how much the others of ``inside`` are off, over what their
    scheme allows: of weights that were held, anything is too much.
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        quantization: Quantization,
        dtype: str,
        inside: Mapping[str, Packing] | None = None,
        *,
        given: bool = False,
        held: Collection[str] = (),
    ) -> None:
        self._rounds = False
        self.errors: dict[str, float] = {}
        self.changed: dict[str, float] = {}
        self.steps: dict[str, float] = {}
        for part, scheme in quantization.schemes.items():
            changes = []
            for name, module in _matrices(parts[part]):
                own = (inside or {}).get(f"layers.{name}.weight") if part == DECODER else None
                if own is not None and not given:
                    self.steps[own.key] = _steps(module.weight.detach(), own, dtype, None if part in held else scheme)
                if part not in held:
                    change, size = self._round(module, scheme, dtype, own if given else None)
                    changes.append((change, size))
                    if own is not None and given:
                        self.changed[own.key] = (change / size) ** 0.5 if size else 0.0
                elif own is not None or part != DECODER:  # others of the decoder are floats in its graphs
                    self._watch(module, scheme.block_for(module.weight.shape[1]) if own is None else own.block)
            if part in held:
                continue
            whole = sum(size for _, size in changes)
            self.errors[part] = (sum(change for change, _ in changes) / whole) ** 0.5 if whole else 0.0

    @contextmanager
    def rounding_rows(self) -> Iterator[None]:
        """While it lasts, what enters a rounded linear layer is rounded to 8 bits: each row, or each block of it."""
        self._rounds = True
        try:
            yield
        finally:
            self._rounds = False

    def _round(self, module: Any, scheme: Scheme, dtype: str, given: Packing | None) -> tuple[float, float]:
        """Squares of the change and of the weights, summed."""
        before = module.weight.detach().to(torch.float32)
        inputs = before.shape[1]
        block = scheme.block_for(inputs) if given is None else given.block
        weight = Weight(type(module).__name__, tuple(before.shape), "float32", lambda: before)
        after = unpacked(given or Rounded(weight, scheme.bits, block), dtype, "float32")
        module.weight = torch.nn.Parameter(after, requires_grad=False)
        self._watch(module, block)
        return float((after - before).double().square().sum()), float(before.double().square().sum())

    def _watch(self, module: Any, block: int | None) -> None:
        """Has what enters a linear layer rounded while that is asked for."""
        if isinstance(module, torch.nn.Linear):

            def rounded(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
                whole = given[0].shape[-1]
                return (_rounded_rows(given[0], block or whole), *given[1:]) if self._rounds else given

            module.register_forward_pre_hook(rounded)


def linear_shapes(parts: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of the decoder's linear layers, by the names that graphs have for their matrices."""
    return {f"layers.{name}.weight": tuple(module.weight.shape) for name, module in _matrices(parts[DECODER])}


def _steps(weight: torch.Tensor, inside: Packing, dtype: str, scheme: Scheme | None) -> float:
    """The greatest difference between ``weight`` and what ``inside`` holds, over what is allowed there: half a step
    between integers, or what is beyond the greatest of them. Where no ``scheme`` rounded it nothing is, so that any
    difference is infinite; and so it is for another scheme than that."""
    outputs, inputs = inside.shape
    if scheme is not None and (inside.bits, inside.block) != (scheme.bits, scheme.block_for(inputs)):
        return math.inf
    wide = weight.to(torch.float32)
    error = (unpacked(inside, dtype, "float32") - wide).abs()
    if scheme is None:
        return math.inf if bool((error != 0).any()) else 0.0
    scales = torch.from_numpy(inside.scales(dtype).astype(np.float32)).reshape(outputs, -1, 1)
    apart, blocks = (each.view(outputs, scales.shape[1], -1) for each in (error, wide))
    allowed = torch.maximum(scales / 2, blocks.abs() - scheme.most * scales)
    return float((apart / allowed).max())


def _matrices(part: Any) -> Iterator[tuple[str, Any]]:
    """The modules of a part whose weight is rounded, by their names in it."""
    for each in part if isinstance(part, (list, tuple)) else (part,):
        if isinstance(each, torch.nn.Embedding):
            yield "", each
        else:
            yield from ((name, module) for name, module in each.named_modules() if isinstance(module, torch.nn.Linear))


def _rounded_rows(rows: torch.Tensor, block: int) -> torch.Tensor:
    """``rows`` ``[..., inputs]``, each block of inputs by a scale of its own."""
    apart = rows.to(torch.promote_types(rows.dtype, torch.float32)).reshape(*rows.shape[:-1], -1, block)
    scales = apart.abs().amax(-1, keepdim=True).clamp_min(1e-30) / _MOST
    found: torch.Tensor = ((apart / scales).round() * scales).reshape(rows.shape).to(rows.dtype)
    return found
