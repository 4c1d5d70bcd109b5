"""What a model family gives the exporter, and how families are found.

A family is a module of :mod:`clasp_trt.export.models` named after the ``model_type`` of its checkpoints, with a
function ``family(checkpoint) -> Family``. Adding one touches nothing else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Protocol

import onnx_ir as ir

from clasp_trt.bundle import Media, ModelInfo
from clasp_trt.errors import CheckpointError
from clasp_trt.export import models
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.decoder.llama import LlamaDims
from clasp_trt.export.weights.graph import Weights


class Family(Protocol):
    """One checkpoint, seen as the parts that a bundle is made of."""

    info: ModelInfo
    media: Media
    decoder: LlamaDims
    max_positions: int

    def vision_graph(self, layers: Sequence[int], dtype: str) -> ir.Model:
        """``pixel_values`` to the hidden states of ``layers`` and the [CLS] saliency."""

    def projector_graph(self, layers: int, dtype: str) -> ir.Model:
        """Hidden states of ``layers`` layers and their weights ``alpha`` to visual tokens of decoder width."""

    def decoder_weights(self, dtype: str) -> Weights:
        """Weights named ``layers.N...``, ``norm``, ``embed_tokens`` and ``lm_head``; tied ones are one tensor."""

    def chat_template(self) -> str:
        """The Jinja template that turns messages into a prompt."""


def supported() -> tuple[str, ...]:
    """The ``model_type`` of every family."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(models.__path__)))


def family_of(checkpoint: Checkpoint) -> Family:
    """The family of a checkpoint. Raises :class:`CheckpointError` if there is none."""
    kind = checkpoint.model_type
    if kind not in supported():
        raise CheckpointError(
            f"model_type {kind!r} of {checkpoint.root} is not supported; supported: {', '.join(supported())}"
        )
    family: Family = importlib.import_module(f"{models.__name__}.{kind}").family(checkpoint)
    return family
