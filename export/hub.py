"""Where a model lies: in a folder, or on the Hugging Face hub. Loads neither torch nor ONNX."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clasp_trt.bundle import Source
from clasp_trt.errors import CheckpointError

_REPOSITORY, _SNAPSHOTS = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)"), "snapshots"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Place:
    """A model's folder and its name for people; ``source`` is the repository that it was fetched from, if known."""

    root: Path
    name: str
    source: Source | None = None


def locate(model: str | Path, files: Sequence[str], revision: str | None = None) -> Place:
    """The folder of ``model``, which is a folder or a hub id such as ``llava-hf/llava-1.5-7b-hf``.

    Of a hub id the files whose names match one of ``files`` are fetched, of the branch, tag or commit ``revision`` if
    one is given. With ``HF_HUB_OFFLINE`` set, the hub's cache on this machine is all there is. A folder of that cache
    goes by the name of its repository. Raises :class:`CheckpointError` if the model is neither, or cannot be had, or
    if a folder is asked for a revision.
    """
    given = os.fspath(model)
    if os.path.isdir(given):  # unlike Path.is_dir, no error for names that no file system takes
        if revision is not None:
            raise CheckpointError(f"--revision {revision} is for a hub id, but {given} is a folder; drop it")
        return _folder(Path(given))
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
        root = Path(snapshot_download(given, revision=revision, allow_patterns=list(files)))
    except Exception as error:  # the hub client raises many kinds; all mean that the model could not be had
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        asked = given if revision is None else f"{given} at revision {revision}"
        raise CheckpointError(f"{asked} is no folder here and could not be fetched from the hub: {reason}") from error
    commit = root.name if _COMMIT.fullmatch(root.name) else None
    return Place(root, given.rpartition("/")[2], Source(given, revision, commit))


def _folder(root: Path) -> Place:
    """A folder by its real name; a snapshot of the hub's cache, which is named after a commit, by its repository's."""
    real = root.resolve()
    repository = _REPOSITORY.fullmatch(real.parent.parent.name) if real.parent.name == _SNAPSHOTS else None
    if repository is None:
        return Place(root, real.name)
    commit = real.name if _COMMIT.fullmatch(real.name) else None
    return Place(root, repository["name"], Source("/".join(repository.groups()), None, commit))
