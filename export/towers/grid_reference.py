"""Towers over a grid of patches, and their mergers, by the checkpoint's own modules in torch.

Rows go through the blocks in the order in which transformers has them, by window where there are windows, and come out
in that of the patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision
from transformers.vision_utils import (
    get_vision_cu_seqlens,
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
    get_vision_window_index,
)

from clasp_trt.chain import port
from clasp_trt.export.reference import Arrays, array, cast, wide
from clasp_trt.export.towers.grid import GridSpec
from clasp_trt.quantization import PROJECTOR, VISION


class Grids:
    """See :class:`~clasp_trt.export.reference.Eyes`: ``tower`` is transformers' own, its merger in it."""

    def __init__(self, spec: GridSpec, tower: Any) -> None:
        self._spec, self._tower = spec, tower

    @property
    def parts(self) -> dict[str, Any]:
        """See :class:`~clasp_trt.export.reference.Eyes`; mergers between blocks are the tower's."""
        tower = self._tower
        others = [each for name, each in tower.named_children() if name != "merger"]
        return {VISION: others, PROJECTOR: tower.merger}

    @torch.inference_mode()
    def vision(self, feed: Arrays, layers: Sequence[int], block: int, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """``features`` ``[frames, layers, patches, width]`` and ``cls_saliency`` ``[frames, patches]`` of ``block``,
        counted from 1; and ``deepstack`` ``[sets, tokens, width]`` where there is one."""
        spec, tower, merge = self._spec, cast(self._tower, dtype), self._spec.patching.merge
        frames, patches, numbers = feed[port.PATCHES].shape
        rows, columns = (int(axis.max()) + 1 for axis in feed[port.POSITIONS])
        grid = torch.tensor([[frames, rows, columns]])
        hidden = tower.patch_embed(torch.from_numpy(feed[port.PATCHES]).to(dtype).reshape(-1, numbers))
        if spec.table is not None:
            index, weight = get_vision_interpolation_indices_and_weights(
                grid, num_grid_per_side=spec.table, mode="bilinear", align_corners=True, spatial_merge_size=merge
            )
            hidden = hidden + (tower.pos_embed(index) * weight[:, :, None]).sum(1).to(hidden.dtype)
        # the frequencies of a tower in another type are rounded, which the checkpoint's are not
        rotary = self._tower.rotary_pos_emb(hidden, get_vision_position_ids(grid, merge))
        order, windows = torch.arange(len(hidden)), None
        if spec.patching.window is not None:
            blocks, windows = get_vision_window_index(grid, merge, tower.window_size, tower.patch_size)
            order = order.reshape(-1, merge**2)[blocks].flatten()
        hidden, rotary = hidden[order], tuple(each[order] for each in rotary)
        back = torch.argsort(order)

        def seen(rows: torch.Tensor) -> torch.Tensor:
            return rows[back].reshape(frames, patches, *rows.shape[1:])

        states, saliency, sets = [seen(hidden)], hidden, {}
        deepest = max(*layers, block, *(number + 1 for number in spec.deepstack))
        for number, module in enumerate(tower.blocks[:deepest], start=1):
            if number == block:
                saliency = _received(module, seen(hidden), tuple(seen(each) for each in rotary))
            ends = get_vision_cu_seqlens(grid) if number - 1 in spec.full_blocks else windows
            hidden = module(hidden, cu_seqlens=ends, position_embeddings=rotary)
            states.append(seen(hidden))
            if number - 1 in spec.deepstack:
                sets[number] = tower.deepstack_merger_list[spec.deepstack.index(number - 1)](hidden)
        found = {port.FEATURES: array(torch.stack([states[layer] for layer in layers], dim=1))}
        found[port.CLS_SALIENCY] = array(saliency)
        if sets:
            found[port.DEEPSTACK] = array(torch.stack([sets[number] for number in sorted(sets)]))
        return found

    @torch.inference_mode()
    def projector(self, feed: Arrays, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """``visual`` ``[1, tokens, width]``: Eqs. 9 and 10; and ``token_saliency`` ``[1, tokens]``."""
        features, alpha = torch.from_numpy(feed[port.FEATURES]), torch.from_numpy(feed[port.ALPHA])
        floats = wide(dtype)
        fused = torch.einsum("flpw,l->fpw", features.to(floats), alpha[0].to(floats)).to(dtype)
        visual = cast(self._tower.merger, dtype)(fused.reshape(-1, fused.shape[-1]))
        saliency = torch.from_numpy(feed[port.CLS_SALIENCY]).reshape(1, -1, self._spec.patching.merge**2)
        return {port.VISUAL: array(visual[None]), port.TOKEN_SALIENCY: array(saliency.mean(-1))}


def _received(block: Any, hidden: torch.Tensor, rotary: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Attention ``[frames, patches]`` that each patch receives from all, mean over heads and rows (Eq. 4); a head at a
    time, since there may be thousands of patches."""
    attention, floats = block.attn, wide(hidden.dtype)
    joined = attention.qkv(block.norm1(hidden)).unflatten(-1, (3, attention.num_heads, -1))
    query, keys = apply_rotary_pos_emb_vision(joined[:, :, 0], joined[:, :, 1], *rotary)
    total = torch.zeros(hidden.shape[:2], dtype=floats)
    for head in range(attention.num_heads):
        scores: torch.Tensor = (
            query[:, :, head].to(floats) @ keys[:, :, head].to(floats).transpose(1, 2) * attention.scaling
        )
        total += scores.softmax(dim=-1).mean(1)
    return total / float(attention.num_heads)
