"""A trained model as a Hugging Face folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from transformers import GenerationConfig, LlavaForConditionalGeneration

from examples.clasp_tiny import processing
from examples.clasp_tiny.architecture import configuration
from examples.clasp_tiny.words import BOS, EOS, PAD, VOCABULARY


class CheckpointError(ValueError):
    """What was asked for cannot be written; one line."""


def check(out: Path) -> None:
    """Raises :class:`CheckpointError` if ``out`` holds something already."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out}: already there; name a folder that does not exist or is empty")


def write(trained: Path, out: Path) -> None:
    """Writes the weights of ``trained`` (a file of :func:`train.train`) in float16 with all that goes with them.

    ``out`` must not exist or be empty; it appears when complete. Raises :class:`CheckpointError`.
    """
    check(out)
    model = LlavaForConditionalGeneration(configuration())
    model.load_state_dict(torch.load(trained, weights_only=True)["model"])
    ids = {"bos_token_id": VOCABULARY[BOS], "eos_token_id": VOCABULARY[EOS], "pad_token_id": VOCABULARY[PAD]}
    model.generation_config = GenerationConfig(**ids)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        whole = Path(beside) / out.name  # one level down: a temporary folder is closed to all others
        whole.mkdir()
        model.half().save_pretrained(whole)
        (whole / "model.safetensors").chmod(0o644)
        processing.write(whole)
        whole.rename(out)
