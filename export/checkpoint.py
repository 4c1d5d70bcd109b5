"""A Hugging Face checkpoint on disk: its configuration files, and where its weights lie."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from clasp_trt.errors import CheckpointError
from clasp_trt.export import hub
from clasp_trt.export.config import CONFIG, refuse_quantised
from clasp_trt.storage.foreign import read_object

_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"


class Checkpoint:
    """A folder in Hugging Face format with safetensors weights; ``name`` is the model's, for people to read."""

    def __init__(self, root: Path, name: str | None = None) -> None:
        self.root = root
        self.name = name or root.resolve().name

    @classmethod
    def open(cls, model: str | Path) -> Checkpoint:
        """Opens a folder, or a hub id such as ``llava-hf/llava-1.5-7b-hf``.

        With ``HF_HUB_OFFLINE`` set, the hub's cache on this machine is all there is. Raises :class:`CheckpointError`
        if it is neither, if its weights are not safetensors, or if they are quantised.
        """
        root, name = hub.locate(model, ("*.json", "*.safetensors", "*.jinja"))
        if not (root / CONFIG).is_file():
            raise CheckpointError(
                f"{model} is not a checkpoint: it has no config.json; give a Hugging Face model folder or hub id"
            )
        checkpoint = cls(root, name)
        refuse_quantised(checkpoint.config, str(root))
        checkpoint.shards  # noqa: B018  refuses wrong weight formats now, not after minutes of work
        return checkpoint

    @cached_property
    def config(self) -> dict[str, Any]:
        """The parsed ``config.json``."""
        return self.json(CONFIG)

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object of the folder. Raises :class:`CheckpointError` if it is missing or malformed."""
        if not (self.root / name).exists():
            raise CheckpointError(f"{self.root} has no {name}; download the whole repository of the model")
        return read_object(self.root / name, CheckpointError, "download the file again")

    @cached_property
    def shards(self) -> tuple[Path, ...]:
        """The weight files. Raises :class:`CheckpointError` unless they are safetensors and all there."""
        if (self.root / _INDEX).is_file():
            index = self.json(_INDEX).get("weight_map")
            if not isinstance(index, dict) or not index:
                raise CheckpointError(f"{self.root / _INDEX} has no weight_map; download the file again")
            names = sorted({str(name) for name in index.values()})
        elif (self.root / _SINGLE).is_file():
            names = [_SINGLE]
        elif any(self.root.glob("*.bin")) or any(self.root.glob("*.pth")):
            raise CheckpointError(
                f"{self.root} holds pickled weights (.bin), which can run code when loaded; expected safetensors: load "
                "it once with transformers and call save_pretrained(folder), or take a revision that has them"
            )
        else:
            raise CheckpointError(
                f"{self.root} has no safetensors weights; expected {_SINGLE} or {_INDEX}; if the model has pickled "
                "ones (.bin) alone, load it once with transformers and call save_pretrained(folder)"
            )
        for name in names:
            if Path(name).name != name:
                raise CheckpointError(
                    f"{self.root / _INDEX} names the shard {name!r}, expected a file name of the same folder; "
                    "download the file again"
                )
            if not (self.root / name).is_file():
                raise CheckpointError(f"{self.root} lacks the shard {name} that its index names; download it again")
        return tuple(self.root / name for name in names)
