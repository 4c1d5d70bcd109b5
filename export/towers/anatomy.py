"""Where a kind of vision tower keeps its parts: what its graph and its reference need to walk it block by block."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from clasp_trt.export.towers.spec import TowerSpec


@dataclass(frozen=True)
class Attention:
    """The attention that a block computes: ``states`` ``[batch, rows, width]`` go in, to ``heads`` queries and keys
    whose products are multiplied by ``scale``."""

    states: torch.Tensor
    query: Any
    key: Any
    heads: int
    scale: float


@dataclass(frozen=True)
class Anatomy:
    """``build(spec)`` makes transformers' own tower, with whatever weights. ``embed(tower, pixels)`` is the input of
    the first of ``blocks(tower)``; ``attention(block, hidden)`` is that of a block on its input, and
    ``step(block, hidden)`` its output."""

    title: str
    build: Callable[[TowerSpec], Any]
    embed: Callable[[Any, torch.Tensor], torch.Tensor]
    blocks: Callable[[Any], Sequence[Any]]
    attention: Callable[[Any, torch.Tensor], Attention]
    step: Callable[[Any, torch.Tensor], torch.Tensor] = lambda block, hidden: block(hidden, attention_mask=None)


def anatomy(kind: str) -> Anatomy:
    """That of the towers whose :attr:`TowerSpec.kind` is ``kind``: ``ANATOMY`` of the module of that name."""
    found: Anatomy = importlib.import_module(f"clasp_trt.export.towers.{kind}").ANATOMY
    return found
