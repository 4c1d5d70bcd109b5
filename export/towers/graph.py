"""The graph of a vision tower, cut at the deepest layer that a policy reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import torch

from clasp_trt.chain import vision_ports
from clasp_trt.errors import ScheduleError
from clasp_trt.export.towers.alignment import aligned
from clasp_trt.export.towers.anatomy import Attention, anatomy
from clasp_trt.export.towers.spec import TowerSpec
from clasp_trt.export.towers.thinning import most_salient, narrowed
from clasp_trt.export.trace import on_meta, trace
from clasp_trt.export.weights.graph import Weights
from clasp_trt.thinning import OPTION


class _Tower(torch.nn.Module):
    """Patch features of the support layers, and the saliency of each patch; where it drops some, of the others, and
    which these are."""

    def __init__(self, spec: TowerSpec, tower: Any, layers: Sequence[int]) -> None:
        super().__init__()
        self.tower: Any = tower
        self._kind, self._layers, self._has_cls = spec.kind, tuple(layers), spec.has_cls
        self._saliency_layer, self._patches = spec.saliency_layer(layers), spec.patches
        self._keeps_cls, thinning = spec.keeps_cls, spec.thinning
        self._thins_after, self._stay = (0, 0) if thinning is None else (thinning.after_block, thinning.keep)

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parts, first = anatomy(self._kind), int(self._has_cls)
        hidden = parts.embed(self.tower, pixel_values.to(next(self.tower.parameters()).dtype))
        states, saliency = [hidden], None
        chosen: tuple[torch.Tensor, ...] = ()
        for number, block in enumerate(parts.blocks(self.tower), start=1):
            if number > max(*self._layers, self._saliency_layer):
                break
            if number == self._saliency_layer:
                saliency = self._salient(parts.attention(block, hidden))
            if number == self._thins_after:
                chosen = self._chosen(parts.attention(block, hidden))
            hidden = parts.step(block, hidden)
            states.append(hidden)
            if number == self._thins_after:
                states = [narrowed(each, chosen[0], first) for each in states]
                hidden = states[-1]
        assert saliency is not None
        if self._thins_after:
            return torch.stack([states[layer][:, first:] for layer in self._layers], dim=1), saliency, *chosen
        if saliency.shape[1] != self._patches:
            saliency = aligned(saliency[..., None], self._patches)[..., 0]
        features = [aligned(states[layer][:, first:], self._patches) for layer in self._layers]
        if self._keeps_cls:
            features = [
                torch.cat([states[layer][:, :1], patches], 1)
                for layer, patches in zip(self._layers, features, strict=True)
            ]
            saliency = torch.cat([torch.zeros_like(saliency[:, :1]), saliency], 1)
        return torch.stack(features, dim=1), saliency

    def _salient(self, attention: Attention) -> torch.Tensor:
        return (_from_cls if self._has_cls else _received)(attention)

    def _chosen(self, attention: Attention) -> tuple[torch.Tensor, torch.Tensor]:
        """The patches that stay, and the saliency of all that they are chosen by."""
        seen = self._salient(attention)
        if seen.shape[1] != self._patches:
            raise ScheduleError(
                f"{OPTION}: block {self._thins_after} has {seen.shape[1]} patches, not the {self._patches} "
                "that become visual tokens; name a block that has these"
            )
        return most_salient(seen, self._stay), seen


def _from_cls(attention: Attention) -> torch.Tensor:
    """Attention of the [CLS] token to the patches, softmax over all keys, mean over heads (Eq. 4)."""
    return _weights(attention, attention.states[:, :1]).mean(1)[:, 0, 1:]


def _received(attention: Attention) -> torch.Tensor:
    """Attention that each patch receives from all patches, mean over heads and rows: Eq. 4 with every row as a
    reference."""
    return _weights(attention, attention.states).mean((1, 2))


def _weights(attention: Attention, rows: torch.Tensor) -> torch.Tensor:
    """Float32 ``[batch, heads, rows, keys]``: how much ``rows`` of the block's input attend to each of its rows."""
    query = attention.query(rows).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    key = attention.key(attention.states).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
    scores: torch.Tensor = query.float() @ key.float().transpose(-1, -2) * attention.scale
    return scores.softmax(-1)


def tower_graph(spec: TowerSpec, layers: Sequence[int], weights: Weights, dtype: str) -> ir.Model:
    """The graph from ``pixel_values`` float32 ``[batch, 3, H, W]`` to ``features`` and ``cls_saliency``.

    ``features`` is ``[batch, layers, tokens, width]`` in ``dtype``, ``cls_saliency`` float32 ``[batch, tokens]``: of
    the [CLS] token or, in a tower without one, of all patches; where [CLS] is a token too, its own is 0. ``weights``
    are named ``tower.`` and as transformers names those of a tower alone. A tower that drops patches also gives
    ``kept`` int64 ``[batch, tokens]`` and ``patch_saliency`` float32 ``[batch, patches]``. Raises
    :class:`ScheduleError` where it would drop them after the last block that is read.
    """
    if spec.thinning is not None and spec.thinning.after_block >= max(layers):
        raise ScheduleError(
            f"{OPTION} stands after block {spec.thinning.after_block}, but of this tower the policy reads "
            f"{max(layers)}; name a block before that, or a policy that reads deeper layers"
        )
    parts, block = anatomy(spec.kind), spec.saliency_layer(layers)
    read = ", ".join(map(str, layers))
    return trace(
        _Tower(spec, on_meta(parts.build, spec, dtype=dtype), layers),
        vision_ports.square_vision(
            spec.image_size,
            len(layers),
            spec.patches + spec.keeps_cls,
            spec.width,
            block,
            dtype,
            has_cls=spec.has_cls,
            keeps_cls=spec.keeps_cls,
            thinning=spec.thinning,
        ),
        weights=weights,
        purpose=f"{parts.title} vision tower up to layer {max(*layers, block)}; support layers {read}.",
    )
