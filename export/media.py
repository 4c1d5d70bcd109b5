"""What a checkpoint can be shown, resolved to the manifest's records: nothing is left to defaults of a library."""

from __future__ import annotations

from clasp_trt.bundle import Media, Medium, Run, Sequential, clip_settings
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint

_OWN, _SHARED = "preprocessor_config.json", "processor_config.json"


def squares(checkpoint: Checkpoint, side: int, cell: int, token: str, id: int) -> Media:
    """Pictures as squares of ``side`` pixels, a visual token for every ``cell`` by ``cell``, in one run.

    ``token`` stands for a picture in the chat template and, with its ``id``, under each visual token. Raises
    :class:`CheckpointError` for an image processor that does something else.
    """
    try:
        processor = clip_settings.square(image_settings(checkpoint), side, cell)
    except clip_settings.SettingsError as error:
        reason = str(error).removeprefix(f"{_OWN}: ")
        raise CheckpointError(
            f"the {_OWN} of {checkpoint.root} cannot be used: {reason}; mend or replace it"
        ) from error
    return Media(Medium(processor, Run(token, token, id, before="", after=""), Sequential(start=0)))


def image_settings(checkpoint: Checkpoint) -> dict[str, object]:
    """The image processor's settings: from a file of their own or, in newer checkpoints, from the processor's."""
    if not (checkpoint.root / _OWN).is_file() and (checkpoint.root / _SHARED).is_file():
        nested = checkpoint.json(_SHARED).get("image_processor")
        if isinstance(nested, dict):
            return nested
    return checkpoint.json(_OWN)
