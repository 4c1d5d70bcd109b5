"""The stages of a bundle computed by the checkpoint's own modules in torch, eagerly and in any float type.

Each method takes the inputs of one graph as NumPy arrays and returns its outputs. Modules are cast one at a time, so
that memory holds the checkpoint in float32 and one layer more. What lies in between (masks, saliency, fusion) is
written from the equations and shares no code with the exporter.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from clasp_trt.chain import port
from clasp_trt.quantization import DECODER, EMBEDDING, HEAD, VISION

Arrays = Mapping[str, NDArray[Any]]
_SLIDES = "sliding_attention"


class Eyes(Protocol):
    """The stages before the decoder, as a family's tower and projector compute them."""

    @property
    def parts(self) -> dict[str, Any]:
        """The modules, or lists of them, of which the linear layers are those of ``vision`` and ``projector``."""

    def vision(self, feed: Arrays, layers: Sequence[int], block: int, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """Those of the vision graph: ``features`` of ``layers``, and the saliency of ``block``, counted from 1."""

    def projector(self, feed: Arrays, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """Those of the projector: Eqs. 9 and 10."""


class Reference:
    """A checkpoint's modules in float32 with eager attention: ``eyes``, the language model ``decoder`` without its
    head, and ``head``; ``watching`` are the eyes for clips, where these have graphs of their own."""

    def __init__(self, eyes: Eyes, decoder: Any, head: Any, watching: Eyes | None = None) -> None:
        self.eyes, self.watching = eyes, watching or eyes
        self._decoder, self._head = decoder, head

    @property
    def parts(self) -> dict[str, Any]:
        """Modules, or lists of them, by the names of :data:`clasp_trt.quantization.PARTS`."""
        decoder, seeing, second = self._decoder, self.eyes.parts, self.watching.parts[VISION]
        if second is not seeing[VISION]:
            seeing = {**seeing, VISION: [seeing[VISION], second]}
        return {**seeing, DECODER: decoder.layers, EMBEDDING: [decoder.embed_tokens], HEAD: self._head}

    @torch.inference_mode()
    def embed(self, feed: Arrays, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """``hidden`` ``[1, rows, width]``."""
        hidden = self._decoder.embed_tokens(torch.from_numpy(feed[port.INPUT_IDS])).to(dtype).clone()
        hidden[0, torch.from_numpy(feed[port.VISUAL_INDEX])] = torch.from_numpy(feed[port.VISUAL])[0].to(dtype)
        return {port.HIDDEN: array(hidden)}

    @torch.inference_mode()
    def segment(self, feed: Arrays, first: int, last: int, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """Prefill of layers ``first`` to ``last``: ``hidden_out``, or the ``logits`` of the last row; and
        ``saliency`` of the last layer where the graph has reference rows."""
        hidden = torch.from_numpy(feed[port.HIDDEN]).to(dtype)
        positions, found = torch.from_numpy(feed[port.POSITION_IDS]), {}
        for number in range(first, last + 1):
            layer, kind = cast(self._decoder.layers[number], dtype), self._kind(number)
            rotary, blocked = self._rotary(hidden, positions, kind), _blocked(feed, kind == _SLIDES)
            mask = torch.zeros(1, 1, *blocked.shape, dtype=dtype).masked_fill_(blocked, torch.finfo(dtype).min)
            if number == last and port.REFERENCE_INDEX in feed:
                found[port.SALIENCY] = array(_text_saliency(layer, hidden, rotary, blocked, feed))
            hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
            if number < len(feed.get(port.DEEPSTACK, ())):
                visual = torch.from_numpy(feed[port.VISUAL_INDEX])
                hidden = hidden.clone()
                hidden[:, visual] += torch.from_numpy(feed[port.DEEPSTACK][number]).to(dtype)
        if last < len(self._decoder.layers) - 1:
            return {port.HIDDEN_OUT: array(hidden), **found}
        logits = cast(self._head, dtype)(cast(self._decoder.norm, dtype)(hidden[:, -1:]))
        return {port.LOGITS: array(_capped(logits, self._decoder.config, "final_logit_softcapping")), **found}

    def _kind(self, layer: int) -> str | None:
        """What the library calls the kind of a layer, where its decoder has several."""
        kinds = getattr(self._decoder.config, "layer_types", None)
        return None if kinds is None else str(kinds[layer])

    def _rotary(self, hidden: torch.Tensor, positions: torch.Tensor, kind: str | None) -> Any:
        """Cosines and sines, of which some decoders have others for each kind of layer."""
        if kind in self._decoder.config.rope_parameters:
            return self._decoder.rotary_emb(hidden, positions, kind)
        return self._decoder.rotary_emb(hidden, position_ids=positions)


def _blocked(feed: Arrays, slides: bool) -> torch.Tensor:
    """Which of all rows each row does not see, bool ``[rows, rows]``: those after it, or what it is told."""
    count = feed[port.HIDDEN].shape[1]
    if port.VISIBLE not in feed:
        return torch.ones(count, count, dtype=torch.bool).triu(diagonal=1)
    (start,), (end,) = torch.from_numpy(feed[port.VISIBLE])
    places = torch.arange(count)
    beyond = places >= end[:, None]
    return torch.logical_or(beyond, places < start[:, None]) if slides else beyond


def _capped(scores: torch.Tensor, config: Any, name: str) -> torch.Tensor:
    cap: float | None = getattr(config, name, None)
    return scores if cap is None else torch.tanh(scores / cap) * cap


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
    floats = wide(hidden.dtype)
    scores: torch.Tensor = query[0, :, rows].to(floats) @ keys[0].to(floats).transpose(1, 2) * attention.scaling
    scores = _capped(scores, attention.config, "attn_logit_softcapping").masked_fill(blocked[rows], -torch.inf)
    return scores.softmax(dim=-1).mean(dim=(0, 1))[visual][None]


def cast(module: Any, dtype: torch.dtype) -> Any:
    """A copy in another type."""
    return module if dtype == torch.float32 else copy.deepcopy(module).to(dtype)


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type in which graphs of this precision take weighted sums and softmax."""
    return torch.promote_types(dtype, torch.float32)


def array(tensor: torch.Tensor) -> NDArray[Any]:
    """For NumPy, which has no bfloat16."""
    found: NDArray[Any] = tensor.to(wide(tensor.dtype)).contiguous().numpy()
    return found
