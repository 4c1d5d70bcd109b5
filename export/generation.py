"""How a checkpoint wants the tokens of its answers chosen."""

from __future__ import annotations

from clasp_trt.bundle import generation_config
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.config import CONFIG
from clasp_trt.generation import Generation
from clasp_trt.storage.fields import Format

_FORMAT = Format(CheckpointError, CheckpointError, "download the file again")
_SERIALISED = {"max_length": 20}
"""What configs from before ``generation_config.json`` state because it was the library's own default."""


def generation(checkpoint: Checkpoint, vocabulary: int) -> Generation:
    """What ``generation_config.json`` says or, where there is none, the config as transformers would read it.

    Raises :class:`CheckpointError` for a setting that cannot be honoured, and for an id that a ``vocabulary`` of this
    size lacks.
    """
    name = generation_config.NAME
    if (checkpoint.root / name).is_file():
        config = checkpoint.json(name)
    else:
        name, config = CONFIG, _of_config(checkpoint)
    source = str(checkpoint.root / name)
    found = generation_config.settings(config, source, _FORMAT)
    for problem in found.beyond(vocabulary):
        raise CheckpointError(f"{source}: {problem}; take the file that belongs to the checkpoint")
    return found


def _of_config(checkpoint: Checkpoint) -> dict[str, object]:
    """The settings of the decoder's part of ``config.json``, and over them those of the whole."""
    text = checkpoint.config.get("text_config")
    parts = [part for part in (text, checkpoint.config) if isinstance(part, dict)]
    merged = {key: value for part in parts for key, value in part.items() if value is not None}
    return {
        key: value for key, value in merged.items() if key in generation_config.KEYS and value != _SERIALISED.get(key)
    }
