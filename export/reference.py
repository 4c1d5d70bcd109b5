"""The stages of a bundle computed by the checkpoint's own modules in torch, eagerly and in any float type.

Each method takes the inputs of one graph as NumPy arrays and returns its outputs. Modules are mapped from their files
and cast one at a time, so that memory holds one layer. What lies in between (masks, saliency, fusion) is written from
the equations and shares no code with the exporter.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from clasp_trt.chain import port
from clasp_trt.quantization import DECODER, EMBEDDING, HEAD, PROJECTOR, VISION

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
    """A checkpoint's modules, as stored, with eager attention: ``eyes``, the language model ``decoder`` without its
    head, and ``head``; ``watching`` are the eyes for clips, where these have graphs of their own."""

    def __init__(self, eyes: Eyes, decoder: Any, head: Any, watching: Eyes | None = None) -> None:
        self.eyes, self.watching = eyes, watching or eyes
        self._decoder, self._head = decoder, head

    @property
    def parts(self) -> dict[str, Any]:
        """Modules, or lists of them, by the names of :data:`clasp_trt.quantization.PARTS`."""
        decoder, seeing = self._decoder, self.eyes.parts
        if self.watching is not self.eyes:
            seeing = {**seeing, VISION: [*_listed(seeing[VISION]), *_listed(self.watching.parts[VISION])]}
        return {**seeing, DECODER: decoder.layers, EMBEDDING: [decoder.embed_tokens], HEAD: self._head}

    @torch.inference_mode()
    def embed(self, feed: Arrays, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """``hidden`` ``[1, rows, width]``."""
        table = cast(self._decoder.embed_tokens, torch.float32)
        hidden = table(torch.from_numpy(feed[port.INPUT_IDS])).to(dtype).clone()
        hidden[0, torch.from_numpy(feed[port.VISUAL_INDEX])] = torch.from_numpy(feed[port.VISUAL])[0].to(dtype)
        return {port.HIDDEN: array(hidden)}

    @torch.inference_mode()
    def segment(self, feed: Arrays, first: int, last: int, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
        """Prefill of layers ``first`` to ``last``: ``hidden_out``, or the ``logits`` of the last row; and
        ``saliency`` of the last layer where the graph has reference rows."""
        hidden, found = torch.from_numpy(feed[port.HIDDEN]).to(dtype), {}
        for number in range(first, last + 1):
            layer, _, rotary, blocked = self._entered(number, hidden, feed)
            if number == last and port.REFERENCE_INDEX in feed:
                found[port.SALIENCY] = array(_text_saliency(layer, hidden, rotary, blocked, feed))
            hidden = _passed(layer, hidden, rotary, blocked, feed, number)
        if last < len(self._decoder.layers) - 1:
            return {port.HIDDEN_OUT: array(hidden), **found}
        logits = cast(self._head, dtype)(cast(self._decoder.norm, dtype)(hidden[:, -1:]))
        return {port.LOGITS: array(_capped(logits, self._decoder.config, "final_logit_softcapping")), **found}

    @property
    def layers(self) -> int:
        """How many the decoder has."""
        return len(self._decoder.layers)

    def linears(self) -> list[set[str]]:
        """The linear layers of each, by their names in it."""
        kind = torch.nn.Linear
        return [
            {name for name, module in layer.named_modules() if isinstance(module, kind)}
            for layer in self._decoder.layers
        ]

    def held(self, number: int) -> Any:
        """Layer ``number`` in float32, in the place of the one that is stored."""
        self._decoder.layers[number] = cast(self._decoder.layers[number], torch.float32)
        return self._decoder.layers[number]

    @contextmanager
    def lent(self, number: int) -> Iterator[Any]:
        """Layer ``number`` in float32 while it lasts; then there is what is stored again."""
        stored = self._decoder.layers[number]
        yield self.held(number)
        self._decoder.layers[number] = stored

    def dropped(self, number: int) -> None:
        """Forgets layer ``number``, which nobody will ask for again."""
        self._decoder.layers[number] = torch.nn.Identity()

    def seeing(self) -> None:
        """Holds in float32 all that comes before the decoder's layers, for many requests."""
        for part, modules in self.parts.items():
            for module in _listed(modules):
                if part in (VISION, PROJECTOR, EMBEDDING):
                    module.to(torch.float32)

    @torch.inference_mode()
    def layer(self, feed: Arrays, number: int) -> NDArray[np.float32]:
        """``hidden`` ``[1, rows, width]`` after layer ``number``, in float32."""
        hidden = torch.from_numpy(feed[port.HIDDEN]).to(torch.float32)
        found: NDArray[np.float32] = array(_passed(*self._entered(number, hidden, feed), feed, number))
        return found

    @torch.inference_mode()
    def attention(self, feed: Arrays, number: int) -> NDArray[np.float32]:
        """What the last row pays each row in layer ``number``, mean over heads, ``[rows]``, in float32."""
        hidden = torch.from_numpy(feed[port.HIDDEN]).to(torch.float32)
        entered = self._entered(number, hidden, feed)
        found: NDArray[np.float32] = array(_attention(*entered, torch.tensor([hidden.shape[1] - 1])))
        return found

    def _entered(self, number: int, hidden: torch.Tensor, feed: Arrays) -> tuple[Any, torch.Tensor, Any, torch.Tensor]:
        """What goes through layer ``number``: the layer in the type of ``hidden``, that, its rotary tables, and which
        rows each row does not see."""
        layer, kind = cast(self._decoder.layers[number], hidden.dtype), self._kind(number)
        rotary = self._rotary(hidden, torch.from_numpy(feed[port.POSITION_IDS]), kind)
        return layer, hidden, rotary, _blocked(feed, kind == _SLIDES)

    def _kind(self, layer: int) -> str | None:
        """What the library calls the kind of a layer, where its decoder has several."""
        kinds = getattr(self._decoder.config, "layer_types", None)
        return None if kinds is None else str(kinds[layer])

    def _rotary(self, hidden: torch.Tensor, positions: torch.Tensor, kind: str | None) -> Any:
        """Cosines and sines, of which some decoders have others for each kind of layer."""
        if kind in self._decoder.config.rope_parameters:
            return self._decoder.rotary_emb(hidden, positions, kind)
        return self._decoder.rotary_emb(hidden, position_ids=positions)


def _listed(modules: Any) -> list[Any]:
    return modules if isinstance(modules, list) else [modules]


def _passed(
    layer: Any, hidden: torch.Tensor, rotary: Any, blocked: torch.Tensor, feed: Arrays, number: int
) -> torch.Tensor:
    """``hidden`` after a layer, and after what is added there to the visual tokens."""
    mask = torch.zeros(1, 1, *blocked.shape, dtype=hidden.dtype).masked_fill_(blocked, torch.finfo(hidden.dtype).min)
    after: torch.Tensor = layer(hidden, attention_mask=mask, position_embeddings=rotary)
    if number < len(feed.get(port.DEEPSTACK, ())):
        visual, after = torch.from_numpy(feed[port.VISUAL_INDEX]), after.clone()
        after[:, visual] += torch.from_numpy(feed[port.DEEPSTACK][number]).to(hidden.dtype)
    return after


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
    rows, visual = torch.from_numpy(feed[port.REFERENCE_INDEX]), torch.from_numpy(feed[port.VISUAL_INDEX])
    return _attention(layer, hidden, rotary, blocked, rows)[visual][None]


def _attention(
    layer: Any,
    hidden: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    blocked: torch.Tensor,
    rows: torch.Tensor,
) -> torch.Tensor:
    """Attention of ``rows`` to all, mean over heads and ``rows``."""
    attention = layer.self_attn
    states = layer.input_layernorm(hidden)
    split = (1, hidden.shape[1], -1, attention.head_dim)
    query, keys = attention.q_proj(states).view(split), attention.k_proj(states).view(split)
    if hasattr(attention, "q_norm"):
        query, keys = attention.q_norm(query), attention.k_norm(keys)
    query, keys = apply_rotary_pos_emb(query.transpose(1, 2), keys.transpose(1, 2), *rotary)
    keys = keys.repeat_interleave(attention.num_key_value_groups, dim=1)
    floats = wide(hidden.dtype)
    scores: torch.Tensor = query[0, :, rows].to(floats) @ keys[0].to(floats).transpose(1, 2) * attention.scaling
    scores = _capped(scores, attention.config, "attn_logit_softcapping").masked_fill(blocked[rows], -torch.inf)
    return scores.softmax(dim=-1).mean(dim=(0, 1))


def cast(module: Any, dtype: torch.dtype) -> Any:
    """A copy in another type; the module itself if all of it has that one."""
    if all(weight.dtype == dtype for weight in module.parameters()):
        return module
    return copy.deepcopy(module).to(dtype)


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type in which graphs of this precision take weighted sums and softmax."""
    return torch.promote_types(dtype, torch.float32)


def array(tensor: torch.Tensor) -> NDArray[Any]:
    """For NumPy, which has no bfloat16."""
    found: NDArray[Any] = tensor.to(wide(tensor.dtype)).contiguous().numpy()
    return found
