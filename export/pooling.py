"""The projector of patches of which several become a token: their mean, through a norm and a matrix."""

from __future__ import annotations

import math

import onnx_ir as ir
import torch

from clasp_trt.chain import vision_ports
from clasp_trt.export.specs import ProjectorSpec
from clasp_trt.export.trace import on_meta, trace
from clasp_trt.export.weights.graph import Weights


class _Pooling(torch.nn.Module):
    """The ``patch_norm``, which is the tower's last, means of squares of patches, an RMSNorm, and a matrix."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__()
        assert spec.patch_norm is not None
        self.patch_norm = torch.nn.LayerNorm(spec.widths[0], eps=spec.patch_norm)
        self.mm_soft_emb_norm = torch.nn.RMSNorm(spec.widths[0])  # whose own arithmetic rounds once more
        self.mm_input_projection_weight = torch.nn.Parameter(torch.empty(spec.widths[0], spec.widths[-1]))
        self._pool, self._epsilon = spec.pool, spec.patch_norm

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        normed = self.patch_norm(hidden)
        means = self.pooled(normed.float())
        scaled = means * torch.rsqrt(means.pow(2).mean(-1, keepdim=True) + self._epsilon)
        scaled = scaled * self.mm_soft_emb_norm.weight.float()
        projected: torch.Tensor = scaled.to(hidden.dtype) @ self.mm_input_projection_weight
        return projected

    def pooled(self, rows: torch.Tensor) -> torch.Tensor:
        """Means of ``[batch, patches, width]`` over squares of patches, in raster order: ``[batch, tokens, width]``."""
        side = math.isqrt(rows.shape[1]) // self._pool
        batch, _, width = rows.shape
        split = rows.reshape(batch, side, self._pool, side, self._pool, width)
        return split.mean((2, 4)).flatten(1, 2)


class _PoolingProjector(torch.nn.Module):
    """Fusion of layers (Eqs. 8-9), then the pooling; a token takes the mean saliency of its patches."""

    def __init__(self, spec: ProjectorSpec) -> None:
        super().__init__()
        self.projector = _Pooling(spec)

    def forward(
        self, features: torch.Tensor, alpha: torch.Tensor, cls_saliency: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        fused = (features.float() * alpha[:, :, None, None]).sum(1)
        saliency = self.projector.pooled(cls_saliency[..., None])[..., 0]
        return self.projector(fused.to(features.dtype)), saliency


def pooling_projector_graph(spec: ProjectorSpec, layers: int, patches: int, weights: Weights, dtype: str) -> ir.Model:
    """The graph from ``features`` ``[batch, layers, patches, widths[0]]``, ``alpha`` float32 ``[batch, layers]`` and
    ``cls_saliency`` float32 ``[batch, patches]`` to ``visual`` ``[batch, tokens, widths[-1]]`` and ``token_saliency``
    float32 ``[batch, tokens]``, a token being ``pool`` by ``pool`` patches.

    ``weights`` are named ``projector.patch_norm``, and below ``projector.`` as transformers names those of Gemma 3.
    """
    return trace(
        on_meta(_PoolingProjector, spec, dtype=dtype),
        vision_ports.pooling_projector(
            layers, patches, patches // spec.pool**2, spec.widths[0], spec.widths[-1], dtype
        ),
        weights=weights,
        purpose="Fuses support layers by the category's weights, takes means of patches, projects to decoder width.",
    )
