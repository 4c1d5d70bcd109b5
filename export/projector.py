"""The projector: support layers fused, then linear layers to decoder width."""

from __future__ import annotations

from itertools import pairwise

import onnx_ir as ir
import torch
from transformers.activations import ACT2FN

from clasp_trt.chain import ports
from clasp_trt.export.description import ProjectorSpec
from clasp_trt.export.trace import on_meta, trace
from clasp_trt.export.weights.graph import Weights


class _Projector(torch.nn.Module):
    """Linear layers ``linear_1`` and so on, with an activation between."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__()
        for number, (inputs, outputs) in enumerate(pairwise(spec.widths), start=1):
            self.add_module(f"linear_{number}", torch.nn.Linear(inputs, outputs, bias=spec.bias))
        self._activation = ACT2FN[spec.activation]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        first, *others = (module for name, module in self.named_children() if name.startswith("linear_"))
        hidden = first(hidden)
        for linear in others:
            hidden = linear(self._activation(hidden))
        return hidden


class _FusedProjector(torch.nn.Module):
    """Fusion of layers (Eqs. 8-9) and projection to decoder width (Eq. 10)."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__()
        self.projector = _Projector(spec)

    def forward(self, features: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        fused = (features.float() * alpha[:, :, None, None]).sum(1)
        projected: torch.Tensor = self.projector(fused.to(features.dtype))
        return projected


class _PackingProjector(_FusedProjector):
    """The same of each tile; then an index makes tokens of the rows of all tiles and the ``newline`` after them."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__(spec)
        self.newline = torch.nn.Parameter(torch.empty(spec.widths[-1]))

    def forward(  # type: ignore[override]  # of more inputs
        self, features: torch.Tensor, alpha: torch.Tensor, cls_saliency: torch.Tensor, row_index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.cat([super().forward(features, alpha).flatten(0, 1), self.newline[None]])
        saliency = torch.cat([cls_saliency.flatten(), cls_saliency.new_zeros(1)])
        return rows[row_index][None], saliency[row_index][None]


def packing_projector_graph(spec: ProjectorSpec, layers: int, rows: int, weights: Weights, dtype: str) -> ir.Model:
    """The graph from ``features`` ``[tiles, layers, rows, widths[0]]``, ``alpha`` float32 ``[1, layers]``, what the
    tower says of each row, ``cls_saliency`` float32 ``[tiles, rows]``, and ``row_index`` int64 ``[visual_tokens]`` to
    ``visual`` ``[1, visual_tokens, widths[-1]]`` and ``token_saliency`` float32 ``[1, visual_tokens]``.

    ``weights`` are named ``projector.linear_1`` and so on, and ``newline``.
    """
    return trace(
        on_meta(_PackingProjector, spec, dtype=dtype),
        ports.packing_projector(layers, rows, spec.widths[0], spec.widths[-1], dtype),
        weights=weights,
        purpose="Fuses support layers by the category's weights, projects to decoder width, and packs tiles to tokens.",
    )


def projector_graph(spec: ProjectorSpec, layers: int, tokens: int, weights: Weights, dtype: str) -> ir.Model:
    """The graph from ``features`` ``[batch, layers, tokens, widths[0]]`` and ``alpha`` float32 ``[batch, layers]`` to
    ``visual`` ``[batch, tokens, widths[-1]]``.

    ``weights`` are named ``projector.linear_1`` and so on.
    """
    return trace(
        on_meta(_FusedProjector, spec, dtype=dtype),
        ports.projector(layers, tokens, spec.widths[0], spec.widths[-1], dtype),
        weights=weights,
        purpose="Fuses support layers by the category's weights and projects to decoder width.",
    )
