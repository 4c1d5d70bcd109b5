"""The projector: support layers fused, then linear layers to decoder width."""

from __future__ import annotations

from itertools import pairwise
from math import isqrt

import onnx_ir as ir
import torch
from transformers.activations import ACT2FN

from clasp_trt.chain import port, vision_ports
from clasp_trt.export.specs import ProjectorSpec
from clasp_trt.export.trace import on_meta, trace
from clasp_trt.export.weights.graph import Weights


class _Projector(torch.nn.Module):
    """Linear layers ``linear_1`` and so on, with an activation between, of patches that were merged."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__()
        self._merge = spec.merge
        self.patch_norm = _norm(spec.patch_width, spec.patch_norm)
        self.token_norm = _norm(spec.widths[0], spec.token_norm)
        for number, (inputs, outputs) in enumerate(pairwise(spec.widths), start=1):
            self.add_module(f"linear_{number}", torch.nn.Linear(inputs, outputs, bias=spec.bias))
        self._activation = ACT2FN[spec.activation]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[tiles, rows, width]`` to ``[tiles, rows of merged patches, decoder width]``."""
        hidden = self.token_norm(_merged(self.patch_norm(hidden), self._merge))
        first, *others = (module for name, module in self.named_children() if name.startswith("linear_"))
        hidden = first(hidden)
        for linear in others:
            hidden = linear(self._activation(hidden))
        return hidden


def _norm(width: int, epsilon: float | None) -> torch.nn.Module:
    return torch.nn.Identity() if epsilon is None else torch.nn.LayerNorm(width, eps=epsilon)


def _merged(rows: torch.Tensor, merge: int) -> torch.Tensor:
    """``[tiles, patches, width]`` to ``[tiles, tokens, merge * merge * width]``: blocks in raster order, in each its
    patches row by row."""
    if merge == 1:
        return rows
    side, width = isqrt(rows.shape[1]) // merge, rows.shape[2]
    blocks = rows.view(-1, side, merge, side, merge, width).transpose(2, 3)
    return blocks.reshape(-1, side * side, merge * merge * width)


class _FusedProjector(torch.nn.Module):
    """Fusion of layers (Eqs. 8-9) and projection to decoder width (Eq. 10)."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__()
        self.projector = _Projector(spec)

    def forward(self, features: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        fused = (features.float() * alpha[:, :, None, None]).sum(1)
        projected: torch.Tensor = self.projector(fused.to(features.dtype))
        return projected


class _MeanProjector(_FusedProjector):
    """The same of means of ``pool`` by ``pool`` patches, each with the mean saliency of its patches."""

    def __init__(self, spec: ProjectorSpec, pool: int) -> None:
        super().__init__(spec)
        self._pool = pool

    def forward(  # type: ignore[override]  # of more inputs
        self, features: torch.Tensor, alpha: torch.Tensor, cls_saliency: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        fused = self._means((features.float() * alpha[:, :, None, None]).sum(1))
        return self.projector(fused.to(features.dtype)), self._means(cls_saliency[..., None])[..., 0]

    def _means(self, rows: torch.Tensor) -> torch.Tensor:
        """``[batch, patches, width]`` to ``[batch, tokens, width]``, both in raster order."""
        side, (batch, _, width) = isqrt(rows.shape[1]) // self._pool, rows.shape
        squares = rows.reshape(batch, side, self._pool, side, self._pool, width)
        return squares.mean((2, 4)).flatten(1, 2)


class _PackingProjector(_FusedProjector):
    """The same of each tile; then an index makes tokens of the rows of all tiles and the ``newline`` after them."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__(spec)
        self.newline = torch.nn.Parameter(torch.empty(spec.widths[-1]))

    def forward(  # type: ignore[override]  # of more inputs
        self, features: torch.Tensor, alpha: torch.Tensor, cls_saliency: torch.Tensor, row_index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, saliency = self._rows(features, alpha, cls_saliency)
        return rows[row_index][None], saliency[row_index][None]

    def _rows(
        self, features: torch.Tensor, alpha: torch.Tensor, cls_saliency: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.cat([super().forward(features, alpha).flatten(0, 1), self.newline[None]])
        return rows, torch.cat([cls_saliency.flatten(), cls_saliency.new_zeros(1)])


class _MixingProjector(_PackingProjector):
    """The same where a token is mixed of some rows, ``[visual_tokens, taps]``, in float32."""

    def forward(  # type: ignore[override]  # of more inputs
        self,
        features: torch.Tensor,
        alpha: torch.Tensor,
        cls_saliency: torch.Tensor,
        row_index: torch.Tensor,
        row_weight: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, saliency = self._rows(features, alpha, cls_saliency)
        visual = torch.zeros((), dtype=torch.float32, device=rows.device)
        for tap in range(vision_ports.TAPS):  # one after another, so that no tensor is as wide as all of them
            visual = visual + rows[row_index[:, tap]].float() * row_weight[:, tap, None]
        return visual.to(rows.dtype)[None], (saliency[row_index] * row_weight).sum(1)[None]


class _MergingProjector(_FusedProjector):
    """The same of each tile, whose tokens follow one another; each has the mean saliency of its patches."""

    def forward(  # type: ignore[override]  # of more inputs
        self, features: torch.Tensor, alpha: torch.Tensor, cls_saliency: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        visual = super().forward(features, alpha).flatten(0, 1)
        saliency = _merged(cls_saliency[..., None], self.projector._merge).mean(-1).flatten()
        return visual[None], saliency[None]


def merging_projector_graph(spec: ProjectorSpec, layers: int, rows: int, weights: Weights, dtype: str) -> ir.Model:
    """The graph from ``features`` ``[tiles, layers, rows, width]``, ``alpha`` float32 ``[1, layers]`` and what the
    tower says of each row, ``cls_saliency`` float32 ``[tiles, rows]``, to ``visual`` ``[1, visual_tokens, widths[-1]]``
    and ``token_saliency`` float32 ``[1, visual_tokens]``.

    ``weights`` are named ``projector.linear_1`` and so on, and ``projector.patch_norm`` and ``projector.token_norm``.
    """
    return trace(
        on_meta(_MergingProjector, spec, dtype=dtype),
        vision_ports.merging_projector(
            layers, spec.patch_width, spec.widths[-1], dtype, pictures=port.BATCH, rows=rows
        ),
        weights=weights,
        purpose="Fuses support layers by the category's weights, merges patches and projects to decoder width.",
    )


def mean_projector_graph(
    spec: ProjectorSpec, layers: int, rows: int, pool: int, weights: Weights, dtype: str
) -> ir.Model:
    """The graph from ``features`` ``[batch, layers, rows, widths[0]]``, ``alpha`` float32 ``[batch, layers]`` and what
    the tower says of each row, ``cls_saliency`` float32 ``[batch, rows]``, to ``visual``
    ``[batch, tokens, widths[-1]]`` and ``token_saliency`` float32 ``[batch, tokens]``, a token being the mean of
    ``pool`` by ``pool`` patches.

    ``weights`` are named ``projector.linear_1`` and so on.
    """
    return trace(
        on_meta(_MeanProjector, spec, pool, dtype=dtype),
        vision_ports.pooling_projector(layers, rows, rows // pool**2, spec.widths[0], spec.widths[-1], dtype),
        weights=weights,
        purpose="Fuses support layers by the category's weights, takes means of patches, projects to decoder width.",
    )


def packing_projector_graph(
    spec: ProjectorSpec, layers: int, rows: int, weights: Weights, dtype: str, *, mixes: bool
) -> ir.Model:
    """The graph from ``features`` ``[tiles, layers, rows, widths[0]]``, ``alpha`` float32 ``[1, layers]``, what the
    tower says of each row, ``cls_saliency`` float32 ``[tiles, rows]``, and ``row_index`` int64 ``[visual_tokens]`` to
    ``visual`` ``[1, visual_tokens, widths[-1]]`` and ``token_saliency`` float32 ``[1, visual_tokens]``; where it
    ``mixes``, from ``row_index`` int64 and ``row_weight`` float32, both ``[visual_tokens, 4]``.

    ``weights`` are named ``projector.linear_1`` and so on, and ``newline``.
    """
    return trace(
        on_meta(_MixingProjector if mixes else _PackingProjector, spec, dtype=dtype),
        vision_ports.packing_projector(layers, rows, spec.widths[0], spec.widths[-1], dtype, mixes=mixes),
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
        vision_ports.projector(layers, tokens, spec.widths[0], spec.widths[-1], dtype),
        weights=weights,
        purpose="Fuses support layers by the category's weights and projects to decoder width.",
    )
