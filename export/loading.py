"""Models of transformers, loaded whole from a folder: for what is small, or runs in torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.quantised import refuse
from clasp_trt.export.trace import quiet
from clasp_trt.export.weights import formats
from clasp_trt.export.weights.packing import unpacked
from clasp_trt.export.weights.stored import FLOATS, stored

STORED = "stored"
"""The type in which the files have the weights: they stay there, and memory holds what is being computed with."""


def pretrained(auto: Any, checkpoint: Checkpoint, dtype: Any, *, attention: str | None = None) -> Any:
    """``auto.from_pretrained`` of a checked checkpoint, in eval mode and without its progress bars.

    ``auto`` is one of transformers' ``AutoModelFor...`` or a model class, ``dtype`` torch's, ``"auto"`` for that of
    the config, or :data:`STORED`, ``attention`` the implementation if not the default one. A checkpoint that is
    quantised is taken as :data:`STORED` alone, and becomes float32 in memory. Raises :class:`CheckpointError` if the
    folder is of another kind, or lacks a tensor, which would get random values.
    """
    place: Path | None = checkpoint.root
    instead: dict[str, Any] = {}
    if dtype != STORED:
        refuse(checkpoint.config, str(checkpoint.root), "what torch runs")
    elif checkpoint.quantised is None:
        dtype = _stored(checkpoint)
    else:
        place, instead, dtype = None, _unpacked(checkpoint), "float32"
    try:
        with quietly():
            module, told = auto.from_pretrained(
                place, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True,
                attn_implementation=attention, **instead,
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, AssertionError) as error:
        raise CheckpointError(f"transformers cannot load {checkpoint.root} as {auto.__name__}: {error}") from None
    if missing := sorted(told["missing_keys"]):
        raise CheckpointError(
            f"{checkpoint.root} lacks the tensor {missing[0]}; give a folder that was trained for this "
            f"({auto.__name__}), or download it whole"
        )
    return module.eval()


def _unpacked(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config of a quantised checkpoint without a word of that, and its weights in float32: what it stands for."""
    import torch
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(checkpoint.root, local_files_only=True)
    for part in (config, config.get_text_config()):
        if hasattr(part, "quantization_config"):
            del part.quantization_config
    state = {
        name: weight.read().to(torch.float32) if weight.packing is None else unpacked(weight.packing, "float32")
        for name, weight in formats.read(stored(checkpoint), checkpoint).items()
    }
    return {"config": config, "state_dict": state}


def _stored(checkpoint: Checkpoint) -> Any:
    """Torch's type that holds every weight of the files as it is, float32 at most."""
    import torch

    kinds = {getattr(torch, weight.dtype) for weight in stored(checkpoint).values() if weight.dtype in FLOATS.values()}
    if not kinds or torch.float64 in kinds:
        return torch.float32
    return reduce(torch.promote_types, kinds)


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps transformers' progress bars and the warnings of what it uses out of the user's terminal."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with quiet():
            yield
    finally:
        if bars:
            logging.enable_progress_bar()
