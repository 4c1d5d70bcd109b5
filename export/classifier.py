"""A Hugging Face text classifier as one ONNX graph: the token ids of a text in, a logit for each label out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import onnx
import torch
from torch import nn

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.loading import pretrained
from clasp_trt.export.trace import quiet

OPSET = 18
"""What the tracer speaks by itself, and every ONNX Runtime that we support reads."""

_HEAD = "ForSequenceClassification"
_RESERVED = 2  # positions that RoBERTa and its kin do not use; the others lose nothing that matters


@dataclass(frozen=True, eq=False)
class Classifier:
    """A text classifier in eval mode, float32. ``labels`` are in the order of the logits; ``max_tokens`` is the longest
    text that it has positions for, special tokens included."""

    checkpoint: Checkpoint
    module: nn.Module
    labels: tuple[str, ...]
    max_tokens: int

    @classmethod
    def open(cls, folder: str) -> Classifier:
        """Reads a folder, or hub id. Raises :class:`CheckpointError` for what is no classifier into one class of many,
        or has no fast tokenizer."""
        from transformers import AutoModelForSequenceClassification

        checkpoint = Checkpoint.open(folder)
        config = checkpoint.config
        made_for = config.get("architectures") or ["nothing"]
        if not str(made_for[0]).endswith(_HEAD):  # transformers would make up a head of random weights
            raise CheckpointError(
                f"{folder} is no text classifier: its config.json names {str(made_for[0])[:80]}, expected ...{_HEAD}"
            )
        if config.get("problem_type") in ("regression", "multi_label_classification"):
            raise CheckpointError(
                f"{folder} is a model for {config['problem_type']}; expected one that gives each text one label"
            )
        checkpoint.json("tokenizer.json")  # refuses a missing or malformed one
        module = pretrained(AutoModelForSequenceClassification, checkpoint, torch.float32)
        names = module.config.id2label
        labels = tuple(str(names[index]) for index in range(module.config.num_labels))
        if len(labels) < 2:
            raise CheckpointError(f"{folder} has {len(labels)} label; a classifier has at least 2")
        return cls(checkpoint, module, labels, _positions(module.config))

    @property
    def vocabulary(self) -> int:
        """Ids that the model has embeddings for."""
        return int(cast(Any, self.module).get_input_embeddings().weight.shape[0])

    def logits(self, input_ids: torch.Tensor) -> torch.Tensor:
        """``[1, labels]`` for ids ``[1, tokens]``, by torch."""
        with torch.inference_mode():
            found: torch.Tensor = _Logits(self.module)(input_ids)
        return found

    def save(self, path: Path) -> None:
        """Writes graph and weights: ``input_ids`` int64 ``[1, tokens]`` in, ``logits`` float32 ``[1, labels]`` out."""
        tokens = torch.export.Dim("tokens", min=1, max=max(2, self.max_tokens))
        example = torch.zeros((1, min(8, self.max_tokens)), dtype=torch.int64)
        with quiet():
            program = torch.onnx.export(
                _Logits(self.module), (example,), dynamo=True, opset_version=OPSET, verbose=False,
                input_names=["input_ids"], output_names=["logits"], dynamic_shapes={"input_ids": {1: tokens}},
            )  # fmt: skip
        if program is None:
            raise RuntimeError("torch.onnx.export returned no program")
        program.save(path, external_data=False)
        onnx.checker.check_model(str(path), full_check=True)


class _Logits(nn.Module):
    """The model without its options: one text, nothing padded."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).logits
        return logits.float()


def _positions(config: Any) -> int:
    """Tokens that a model takes; without a limit of its own, any number."""
    known = getattr(config, "max_position_embeddings", None)
    return max(1, known - _RESERVED) if isinstance(known, int) and known > 0 else 1 << 16
