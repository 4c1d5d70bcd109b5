"""A checkpoint's own modules with weights rounded as an export does, and rows as CPUs round them before products.

The weights are those of ``nn.Linear`` and the embedding table of each part, whatever they are called on disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from clasp_trt.export.weights.packing import Packing, unpacked
from clasp_trt.export.weights.rounding import Rounded
from clasp_trt.export.weights.stored import Weight
from clasp_trt.quantization import DECODER, Quantization, Scheme

_MOST = 127.0


class RoundedModules:
    """``parts`` of a model, by the names of :data:`clasp_trt.quantization.PARTS`, with their weights replaced by what
    ``quantization`` rounds them to, scales in ``dtype``. A tied weight becomes two. Matrices of the decoder's layers
    that are ``given``, by their names in a graph, are not rounded to the nearest, but taken from there.

    ``errors`` are the changes of each part that is rounded, and ``changed`` those of each matrix that was given, root
    mean square over that of its weights.
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        quantization: Quantization,
        dtype: str,
        given: Mapping[str, Packing] | None = None,
    ) -> None:
        self._rounds = False
        self.errors: dict[str, float] = {}
        self.changed: dict[str, float] = {}
        for part, scheme in quantization.schemes.items():
            changes = []
            for name, module in _matrices(parts[part]):
                held = (given or {}).get(f"layers.{name}.weight") if part == DECODER else None
                change, size = self._round(module, scheme, dtype, held)
                changes.append((change, size))
                if held is not None:
                    self.changed[held.key] = (change / size) ** 0.5 if size else 0.0
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
        if isinstance(module, torch.nn.Linear):

            def rounded(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
                return (_rounded_rows(given[0], block or inputs), *given[1:]) if self._rounds else given

            module.register_forward_pre_hook(rounded)
        return float((after - before).double().square().sum()), float(before.double().square().sum())


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
