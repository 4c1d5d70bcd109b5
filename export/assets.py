"""What families read of a checkpoint beside its config and weights: chat template, stop tokens, the image's token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint

_TEMPLATES = ("processor_config.json", "chat_template.json", "chat_template.jinja", "tokenizer_config.json")
"""Where a chat template may lie; the first that has one decides, as in transformers."""


def chat_template(checkpoint: Checkpoint) -> str:
    """The Jinja template that turns messages into a prompt. Raises :class:`CheckpointError` if there is none."""
    for name in _TEMPLATES:
        path = checkpoint.root / name
        if path.is_file():
            template = _read_template(checkpoint, path)
            if template is not None:
                return template
    raise CheckpointError(
        f"{checkpoint.root} has no chat template (looked at {', '.join(_TEMPLATES)}); download the whole "
        "repository of the model, or write the template that it was trained with into chat_template.jinja"
    )


def _read_template(checkpoint: Checkpoint, path: Path) -> str | None:
    """The template of a file, or None if it has none. Of several named ones, the ``default``."""
    if path.suffix == ".jinja":
        try:
            return path.read_text(encoding="utf-8")
        except ValueError as error:
            raise CheckpointError(f"{path} is not UTF-8 text ({error}); download the file again") from None
    found = checkpoint.json(path.name).get("chat_template")
    if isinstance(found, list):
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default", found)
    if found is None or isinstance(found, str):
        return found
    raise CheckpointError(
        f"chat_template of {path} is neither a template nor a list that names a 'default'; write the one to use "
        f"into chat_template.jinja and remove the entry from {path.name}"
    )


def stop_tokens(checkpoint: Checkpoint, otherwise: Sequence[int]) -> tuple[int, ...]:
    """What ends an answer: as ``generation_config.json`` says, else ``otherwise``.

    There may be none: then, as in transformers, an answer ends at its greatest length.
    """
    source = "generation_config.json"
    there = (checkpoint.root / source).is_file()
    stop = checkpoint.json(source).get("eos_token_id") if there else None
    return tuple(otherwise) if stop is None else token_ids(stop, source)


def token_ids(stop: object, source: str) -> tuple[int, ...]:
    """The ids that the ``eos_token_id`` of ``source`` gives as one number, several, or null. Raises
    :class:`CheckpointError` for anything else."""
    ids = stop if isinstance(stop, list) else [] if stop is None else [stop]
    if not all(type(id) is int for id in ids):
        raise CheckpointError(f"eos_token_id {stop!r} of {source} is not supported; expected token ids")
    return tuple(ids)


def image_token(checkpoint: Checkpoint, id: int, vocabulary: int) -> str:
    """The spelling of the added token ``id`` under each visual token. Raises :class:`CheckpointError` if the tokenizer
    has none, or the decoder's ``vocabulary`` no such id."""
    if id >= vocabulary:
        raise CheckpointError(
            f"image_token_id {id} of config.json is outside the decoder's vocabulary of {vocabulary}; "
            "take the config.json that belongs to the checkpoint"
        )
    added = checkpoint.json("tokenizer.json").get("added_tokens")
    for token in added if isinstance(added, list) else []:
        if isinstance(token, dict) and token.get("id") == id and "content" in token:
            return str(token["content"])
    raise CheckpointError(
        f"tokenizer.json has no added token with the image_token_id {id} of config.json; "
        "take the tokenizer that belongs to the checkpoint"
    )
