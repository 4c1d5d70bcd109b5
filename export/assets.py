"""What families read of a checkpoint beside its config and weights: chat template, stop tokens, the image's token.

Each fact has one reader here, which asks the files in the order of transformers: ``docs/checkpoint-files.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from clasp_trt.brief import brief
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.config import CONFIG, MOST
from clasp_trt.notice import tell

if TYPE_CHECKING:
    from clasp_trt.export.tokenizer import Tokenizer

_GENERATION = "generation_config.json"
TEMPLATES = (
    "processor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "additional_chat_templates/default.jinja",
    "tokenizer_config.json",
)
"""Where a chat template may lie; the first that has one decides, as in transformers."""


def chat_template(checkpoint: Checkpoint) -> str:
    """The Jinja template that turns messages into a prompt. Raises :class:`CheckpointError` if there is none."""
    found = {name: template for name in TEMPLATES if (template := _template_in(checkpoint, name)) is not None}
    if not found:
        raise CheckpointError(
            f"{checkpoint.root} has no chat template (looked at {', '.join(TEMPLATES)}); download the whole "
            "repository of the model, or write the template that it was trained with into chat_template.jinja"
        )
    (name, template), *others = found.items()
    for other, differs in others:
        if differs != template:
            tell(
                f"{checkpoint.root}: the chat template is that of {name}, as in transformers; {other} has another, "
                "which is not read"
            )
    return template


def _template_in(checkpoint: Checkpoint, name: str) -> str | None:
    """The template of a file, or None if it is missing or has none. Of several named ones, the ``default``."""
    path = checkpoint.root / name
    if not path.is_file():
        return None
    if path.suffix == ".jinja":
        try:
            return path.read_text(encoding="utf-8")
        except ValueError as error:
            raise CheckpointError(f"{path} is not UTF-8 text ({error}); download the file again") from None
    found = checkpoint.json(name).get("chat_template")
    if isinstance(found, list):
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default", found)
    elif isinstance(found, dict):
        found = found.get("default", found)
    if found is None or isinstance(found, str):
        return found
    raise CheckpointError(
        f"chat_template of {path} is neither a template nor several with a 'default'; write the one to use "
        f"into chat_template.jinja and remove the entry from {path.name}"
    )


def stop_tokens(checkpoint: Checkpoint) -> tuple[int, ...]:
    """What ends an answer: the ``eos_token_id`` of ``generation_config.json``; without that file that of
    ``config.json``, at its top or else in its ``text_config``.

    There may be none: then, as in transformers, an answer ends at its greatest length.
    """
    found = dict(_stops(checkpoint))
    if not found:
        return ()
    (source, ids), *others = found.items()
    for other, differs in others:
        if not set(differs) <= set(ids):
            tell(
                f"{checkpoint.root}: eos_token_id of {source} ends answers, as in transformers: {list(ids)}; "
                f"{other} says {list(differs)}"
            )
    return ids


def _stops(checkpoint: Checkpoint) -> Iterator[tuple[str, tuple[int, ...]]]:
    """What each file says, those that count first."""
    config = checkpoint.config
    if (checkpoint.root / _GENERATION).is_file():
        yield _GENERATION, token_ids(checkpoint.json(_GENERATION).get("eos_token_id"), _GENERATION)
    text = config.get("text_config")
    for source, part in ((CONFIG, config), (f"{CONFIG} (text_config.)", text)):
        if isinstance(part, dict) and part.get("eos_token_id") is not None:
            yield source, token_ids(part["eos_token_id"], source)


def token_ids(stop: object, source: str) -> tuple[int, ...]:
    """The ids that the ``eos_token_id`` of ``source`` gives as one number, several, or null. Raises
    :class:`CheckpointError` for anything else."""
    ids = stop if isinstance(stop, list) else [] if stop is None else [stop]
    for id in ids:
        if type(id) is not int or not 0 <= id <= MOST:
            raise CheckpointError(f"eos_token_id {brief(id)} of {source} is not supported; expected token ids")
    return tuple(ids)


def image_token(tokenizer: Tokenizer, id: int, vocabulary: int | None) -> str:
    """The spelling of the added token ``id`` under each visual token. Raises :class:`CheckpointError` if the tokenizer
    has none, or the decoder's ``vocabulary`` no such id, where that matters."""
    if vocabulary is not None and id >= vocabulary:
        raise CheckpointError(
            f"image_token_id {id} of config.json is outside the decoder's vocabulary of {vocabulary}; "
            "take the config.json that belongs to the checkpoint"
        )
    if id not in tokenizer.added:
        raise CheckpointError(
            f"neither tokenizer.json nor tokenizer_config.json has an added token with the image_token_id {id} of "
            "config.json; take the tokenizer that belongs to the checkpoint"
        )
    return tokenizer.added[id]
