"""Where a model lies: in a folder, or on the Hugging Face hub. Loads neither torch nor ONNX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from clasp_trt.errors import CheckpointError


def locate(model: str | Path, files: Sequence[str]) -> tuple[Path, str]:
    """The folder of ``model``, which is a folder or a hub id such as ``llava-hf/llava-1.5-7b-hf``, and its name.

    Of a hub id the files whose names match one of ``files`` are fetched. With ``HF_HUB_OFFLINE`` set, the hub's cache
    on this machine is all there is. Raises :class:`CheckpointError` if the model is neither, or cannot be had.
    """
    given = os.fspath(model)
    if os.path.isdir(given):  # unlike Path.is_dir, no error for names that no file system takes
        return Path(given), Path(given).resolve().name
    if given.startswith((".", "/", "~")) or given.count("/") != 1 or os.path.lexists(given):
        raise CheckpointError(
            f"{given} is not a folder; give a Hugging Face model folder or a hub id such as llava-hf/llava-1.5-7b-hf"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise CheckpointError(
            f"{given} is not a folder here, and fetching from the hub needs huggingface_hub; "
            "pip install huggingface_hub, or give a folder that holds the model"
        ) from None
    try:
        return Path(snapshot_download(given, allow_patterns=list(files))), given.rpartition("/")[2]
    except Exception as error:  # the hub client raises many kinds; all mean that the model could not be had
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{given} is no folder here and could not be fetched from the hub: {reason}") from error
