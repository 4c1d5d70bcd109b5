"""The stages of a bundle computed by the checkpoint's own modules in torch, eagerly and in any float type.

Each method takes the inputs of one graph as NumPy arrays and returns its outputs. Modules are cast one at a time, so
that memory holds the checkpoint in float32 and one layer more. What lies in between (masks, saliency, fusion) is
written from the equations and shares no code with the exporter.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from clasp_trt.chain import port
from clasp_trt.export.towers.anatomy import Attention, anatomy
from clasp_trt.export.towers.spec import TowerSpec

Arrays = Mapping[str, NDArray[Any]]


class Reference:
    """A checkpoint's modules in float32 with eager attention: ``tower`` of the kind that ``spec`` says, ``projector``
    from fused features to visual tokens, the language model ``decoder`` without its head, and ``head``. Where tiles
    are packed, ``newline`` ``[width]`` ends each row."""

    def __init__(
        self, spec: TowerSpec, tower: Any, projector: Any, decoder: Any, head: Any, newline: Any = None
    ) -> None:
        self._spec, self._tower, self._projector, self._decoder, self._head = spec, tower, projector, decoder, head
        self._newline = newline

    @torch.inference_mode()
    def vision(self, feed: Arrays, layers: Sequence[int], block: int, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """``features`` ``[tiles, layers, tokens, width]``, and ``cls_saliency`` ``[tiles, tokens]`` of ``block``,
        counted from 1."""
        parts, tower, has_cls = anatomy(self._spec.kind), _cast(self._tower, dtype), self._spec.has_cls
        hidden = parts.embed(tower, torch.from_numpy(feed[port.PIXEL_VALUES]).to(dtype))
        states, saliency = [hidden], hidden
        for number, module in enumerate(parts.blocks(tower)[: max(*layers, block)], start=1):
            if number == block:
                saliency = _tower_saliency(parts.attention(module, hidden), has_cls)
            hidden = module(hidden, attention_mask=None)
            states.append(hidden)
        features = torch.stack([states[layer][:, int(has_cls) :] for layer in layers], dim=1)
        return {port.FEATURES: _array(features), port.CLS_SALIENCY: _array(saliency)}

    @torch.inference_mode()
    def projector(self, feed: Arrays, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """``visual`` ``[1, tokens, width]``: Eqs. 9 and 10. Tiles are packed, and what the tower says of them too."""
        features, alpha = torch.from_numpy(feed[port.FEATURES]), torch.from_numpy(feed[port.ALPHA])
        wide = _wide(dtype)
        fused = torch.einsum("bltw,l->btw", features.to(wide), alpha[0].to(wide))
        visual = _cast(self._projector, dtype)(fused.to(dtype))
        if self._newline is None:
            return {port.VISUAL: _array(visual)}
        index, saliency = torch.from_numpy(feed[port.ROW_INDEX]), torch.from_numpy(feed[port.CLS_SALIENCY])
        rows = torch.cat([*visual, self._newline.detach().to(dtype)[None]])
        ranked = torch.cat([*saliency, saliency.new_zeros(1)])
        return {port.VISUAL: _array(rows[index][None]), port.TOKEN_SALIENCY: _array(ranked[index][None])}

    @torch.inference_mode()
    def embed(self, feed: Arrays, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """``hidden`` ``[1, rows, width]``."""
        hidden = self._decoder.embed_tokens(torch.from_numpy(feed[port.INPUT_IDS])).to(dtype).clone()
        hidden[0, torch.from_numpy(feed[port.VISUAL_INDEX])] = torch.from_numpy(feed[port.VISUAL])[0].to(dtype)
        return {port.HIDDEN: _array(hidden)}

    @torch.inference_mode()
    def segment(self, feed: Arrays, first: int, last: int, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """Prefill of layers ``first`` to ``last``: ``hidden_out``, or the ``logits`` of the last row; and
        ``saliency`` of the last layer where the graph has reference rows."""
        hidden = torch.from_numpy(feed[port.HIDDEN]).to(dtype)
        rotary = self._decoder.rotary_emb(hidden, position_ids=torch.from_numpy(feed[port.POSITION_IDS]))
        count = hidden.shape[1]
        blocked = torch.ones(count, count, dtype=torch.bool).triu(diagonal=1)
        mask = torch.zeros(1, 1, count, count, dtype=dtype).masked_fill_(blocked, torch.finfo(dtype).min)
        found = {}
        for number in range(first, last + 1):
            layer = _cast(self._decoder.layers[number], dtype)
            if number == last and port.REFERENCE_INDEX in feed:
                found[port.SALIENCY] = _array(_text_saliency(layer, hidden, rotary, blocked, feed))
            hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
        if last < len(self._decoder.layers) - 1:
            return {port.HIDDEN_OUT: _array(hidden), **found}
        normed = _cast(self._decoder.norm, dtype)(hidden[:, -1:])
        return {port.LOGITS: _array(_cast(self._head, dtype)(normed)), **found}


def _tower_saliency(attention: Attention, has_cls: bool) -> torch.Tensor:
    """Attention ``[tiles, tokens]`` to the patches of [CLS], or of all patches, mean over heads and rows (Eq. 4)."""
    split = (*attention.states.shape[:2], attention.heads, -1)
    wide = _wide(attention.states.dtype)
    query = attention.query(attention.states).view(split).to(wide)
    keys = attention.key(attention.states).view(split).to(wide)
    scores = torch.einsum("bqhd,bkhd->bhqk", query[:, :1] if has_cls else query, keys) * attention.scale
    return scores.softmax(dim=-1)[..., int(has_cls) :].mean(dim=(1, 2))


def _text_saliency(
    layer: Any, hidden: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor], blocked: torch.Tensor, feed: Arrays
) -> torch.Tensor:
    """Attention ``[1, tokens]`` of the reference rows to the visual ones, mean over heads and rows (Eqs. 32-33)."""
    attention = layer.self_attn
    states = layer.input_layernorm(hidden)
    split = (1, hidden.shape[1], -1, attention.head_dim)
    query, keys = attention.q_proj(states).view(split), attention.k_proj(states).view(split)
    if hasattr(attention, "q_norm"):
        query, keys = attention.q_norm(query), attention.k_norm(keys)
    query, keys = apply_rotary_pos_emb(query.transpose(1, 2), keys.transpose(1, 2), *rotary)
    keys = keys.repeat_interleave(attention.num_key_value_groups, dim=1)
    rows, visual = torch.from_numpy(feed[port.REFERENCE_INDEX]), torch.from_numpy(feed[port.VISUAL_INDEX])
    wide = _wide(hidden.dtype)
    scores: torch.Tensor = query[0, :, rows].to(wide) @ keys[0].to(wide).transpose(1, 2) * attention.scaling
    scores = scores.masked_fill(blocked[rows], -torch.inf)
    return scores.softmax(dim=-1).mean(dim=(0, 1))[visual][None]


def _cast(module: Any, dtype: torch.dtype) -> Any:
    return module if dtype == torch.float32 else copy.deepcopy(module).to(dtype)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The type in which graphs of this precision take weighted sums and softmax."""
    return torch.promote_types(dtype, torch.float32)


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    found: NDArray[Any] = tensor.to(_wide(tensor.dtype)).contiguous().numpy()
    return found
