"""Towers that take squares, and their projectors, by the checkpoint's own modules in torch."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import torch
from numpy.typing import NDArray

from clasp_trt.chain import port
from clasp_trt.export.reference import Arrays, array, cast, wide
from clasp_trt.export.towers.anatomy import Attention, anatomy
from clasp_trt.export.towers.spec import TowerSpec
from clasp_trt.quantization import PROJECTOR, VISION


class Squares:
    """See :class:`~clasp_trt.export.reference.Eyes`: ``tower`` of the kind that ``spec`` says, and ``projector`` from
    fused features to visual tokens. Where tiles are packed, ``newline`` ``[width]`` ends each row; where ``merge`` by
    ``merge`` patches become one token, tiles follow one another; ``pool`` by ``pool`` become their mean before they are
    projected."""

    def __init__(
        self, spec: TowerSpec, tower: Any, projector: Any, newline: Any = None, merge: int | None = None, pool: int = 1
    ) -> None:
        self._spec, self._tower, self._projector = spec, tower, projector
        self._newline, self._merge, self._pool = newline, merge, pool

    @property
    def parts(self) -> dict[str, Any]:
        """See :class:`~clasp_trt.export.reference.Eyes`."""
        return {VISION: self._tower, PROJECTOR: self._projector}

    @torch.inference_mode()
    def vision(self, feed: Arrays, layers: Sequence[int], block: int, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """``features`` ``[tiles, layers, tokens, width]``, and ``cls_saliency`` ``[tiles, tokens]`` of ``block``,
        counted from 1. Where the tower drops patches, those that ``feed`` says are ``kept`` stay, and
        ``patch_saliency`` ``[tiles, patches]`` is what speaks for each."""
        parts, tower, has_cls = anatomy(self._spec.kind), cast(self._tower, dtype), self._spec.has_cls
        hidden = parts.embed(tower, torch.from_numpy(feed[port.PIXEL_VALUES]).to(dtype))
        states, saliency, thinning = [hidden], hidden, self._spec.thinning
        chosen: dict[str, NDArray[Any]] = {}
        for number, module in enumerate(parts.blocks(tower)[: max(*layers, block)], start=1):
            if number == block:
                saliency = _tower_saliency(parts.attention(module, hidden), has_cls)
            stays = thinning is not None and number == thinning.after_block
            if stays:
                seen = _tower_saliency(parts.attention(module, hidden), has_cls)
                chosen = {port.KEPT: feed[port.KEPT], port.PATCH_SALIENCY: array(seen)}
            hidden = parts.step(module, hidden)
            states.append(hidden)
            if stays:
                states = [_rows_kept(each, feed[port.KEPT], int(has_cls)) for each in states]
                hidden = states[-1]
        if thinning is not None:
            read = torch.stack([states[layer][:, int(has_cls) :] for layer in layers], dim=1)
            return {port.FEATURES: array(read), port.CLS_SALIENCY: array(saliency), **chosen}
        features = torch.stack([self._placed(states[layer][:, int(has_cls) :]) for layer in layers], dim=1)
        ranked = self._placed(saliency[..., None])[..., 0]
        if self._spec.keeps_cls:
            whole = torch.stack([states[layer][:, :1] for layer in layers], dim=1)
            features, ranked = torch.cat([whole, features], 2), torch.nn.functional.pad(ranked, (1, 0))
        return {port.FEATURES: array(features), port.CLS_SALIENCY: array(ranked)}

    def _placed(self, rows: torch.Tensor) -> torch.Tensor:
        """``rows`` ``[batch, patches, width]`` of any square grid by the place of each of the tower's patches: the mean
        of those that lie there, or the one in which it lies."""
        have, want = isqrt(rows.shape[1]), isqrt(self._spec.patches)
        batch, width = rows.shape[0], rows.shape[2]
        if have <= want:
            grid = rows.view(batch, have, have, width)
            spread = grid.repeat_interleave(want // have, 1).repeat_interleave(want // have, 2)
            return spread.reshape(batch, -1, width)
        squares = rows.reshape(batch, want, have // want, want, have // want, width)
        return squares.mean((2, 4)).view(batch, -1, width)

    @torch.inference_mode()
    def projector(self, feed: Arrays, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """``visual`` ``[1, tokens, width]``: Eqs. 9 and 10. Tiles are packed, and what the tower says of them too."""
        features, alpha = torch.from_numpy(feed[port.FEATURES]), torch.from_numpy(feed[port.ALPHA])
        floats = wide(dtype)
        fused = torch.einsum("bltw,l->btw", features.to(floats), alpha[0].to(floats))
        if self._pool > 1:
            batch, patches, width = fused.shape
            grid = fused.view(batch, isqrt(patches), -1, width).permute(0, 3, 1, 2)
            fused = torch.nn.functional.avg_pool2d(grid, self._pool).flatten(2).transpose(1, 2)
        visual = cast(self._projector, dtype)(fused.to(dtype))
        if self._merge is not None:
            saliency = torch.from_numpy(feed[port.CLS_SALIENCY])
            tiles = saliency.view(len(saliency), 1, isqrt(saliency.shape[1]), -1)
            merged = torch.nn.functional.avg_pool2d(tiles, self._merge)
            return {port.VISUAL: array(visual.flatten(0, 1)[None]), port.TOKEN_SALIENCY: array(merged.reshape(1, -1))}
        if (pool := max(self._pool, self._spec.pool)) > 1:
            squares = torch.from_numpy(feed[port.CLS_SALIENCY])
            side = self._spec.image_size // self._spec.patch_size
            means = torch.nn.functional.avg_pool2d(squares.view(-1, 1, side, side), pool)
            return {port.VISUAL: array(visual), port.TOKEN_SALIENCY: array(means.flatten(1))}
        if self._newline is None:
            return {port.VISUAL: array(visual)}
        index, saliency = torch.from_numpy(feed[port.ROW_INDEX]), torch.from_numpy(feed[port.CLS_SALIENCY])
        rows = torch.cat([*visual, self._newline.detach().to(dtype)[None]])
        ranked = torch.cat([*saliency, saliency.new_zeros(1)])
        if port.ROW_WEIGHT in feed:
            weight = torch.from_numpy(feed[port.ROW_WEIGHT]).to(floats)
            mixed = torch.einsum("ntw,nt->nw", rows[index].to(floats), weight).to(dtype)
            ranked = torch.einsum("nt,nt->n", ranked[index].to(floats), weight)
            return {port.VISUAL: array(mixed[None]), port.TOKEN_SALIENCY: array(ranked[None])}
        return {port.VISUAL: array(rows[index][None]), port.TOKEN_SALIENCY: array(ranked[index][None])}


def _rows_kept(states: torch.Tensor, kept: NDArray[Any], first: int) -> torch.Tensor:
    """Of ``states`` ``[tiles, rows, width]`` the first ``first`` rows and, of the patches after them, the ``kept``."""
    return torch.stack(
        [torch.cat([rows[:first], rows[first:][torch.from_numpy(own)]]) for rows, own in zip(states, kept, strict=True)]
    )


def _tower_saliency(attention: Attention, has_cls: bool) -> torch.Tensor:
    """Attention ``[tiles, tokens]`` to the patches of [CLS], or of all patches, mean over heads and rows (Eq. 4)."""
    split = (*attention.states.shape[:2], attention.heads, -1)
    floats = wide(attention.states.dtype)
    query = attention.query(attention.states).view(split).to(floats)
    keys = attention.key(attention.states).view(split).to(floats)
    scores = torch.einsum("bqhd,bkhd->bhqk", query[:, :1] if has_cls else query, keys) * attention.scale
    return scores.softmax(dim=-1)[..., int(has_cls) :].mean(dim=(1, 2))
