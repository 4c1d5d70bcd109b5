"""A Hugging Face checkpoint on disk: its configuration files, and where its weights lie."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from clasp_trt.brief import brief
from clasp_trt.bundle import Source
from clasp_trt.errors import CheckpointError
from clasp_trt.export import hub, lookalikes
from clasp_trt.export.config import CONFIG
from clasp_trt.export.lookalikes import INDEX, SINGLE
from clasp_trt.export.quantised import Quantised, quantised
from clasp_trt.storage.foreign import read_object

_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt")
"""What is fetched of a hub's repository: configuration, weights, chat templates, and the files of tokenizers."""


class Checkpoint:
    """A folder in Hugging Face format with safetensors weights; ``name`` is the model's, for people to read, and
    ``source`` the repository that it was fetched from, if known."""

    def __init__(self, root: Path, name: str | None = None, source: Source | None = None) -> None:
        self.root = root
        self.name = name or root.resolve().name
        self.source = source

    @classmethod
    def open(cls, model: str | Path, revision: str | None = None) -> Checkpoint:
        """Opens a folder, or a hub id such as ``llava-hf/llava-1.5-7b-hf``, of its ``revision`` if one is given.

        With ``HF_HUB_OFFLINE`` set, the hub's cache on this machine is all there is. Raises :class:`CheckpointError`
        if it is neither, if its weights are not safetensors, are quantised in a way that is not read, or are an
        adapter's.
        """
        place = hub.locate(model, _FILES, revision)
        lookalikes.refuse_adapter(place.root)
        if not (place.root / CONFIG).is_file():
            raise lookalikes.no_config(place.root)
        checkpoint = cls(place.root, place.name, place.source)
        checkpoint.quantised  # noqa: B018  refused now
        checkpoint.shards  # noqa: B018  refuses wrong weight formats now, not after minutes of work
        return checkpoint

    @cached_property
    def config(self) -> dict[str, Any]:
        """The parsed ``config.json``."""
        return self.json(CONFIG)

    @property
    def quantised(self) -> Quantised | None:
        """How its weights are integers already; None where they are floats. Raises :class:`CheckpointError`."""
        return quantised(self.config, str(self.root))

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object of the folder. Raises :class:`CheckpointError` if it is missing or malformed."""
        path = self.root / name
        if not path.exists():
            raise CheckpointError(f"{self.root} has no {name}; download the whole repository of the model")
        if path.is_file():
            lookalikes.refuse_pointer(path)
        return read_object(path, CheckpointError, "download the file again")

    @cached_property
    def shards(self) -> tuple[Path, ...]:
        """The weight files, in the order in which transformers reads them.

        Raises :class:`CheckpointError` unless they are safetensors and all there.
        """
        listing = self._listing()
        names = self._of_index(listing) if listing.endswith(".json") else [listing]
        for name in names:
            if Path(name).name != name or "\0" in name:
                raise CheckpointError(
                    f"{self.root / listing} names the shard {name!r}, expected a file name of the same folder; "
                    "download the file again"
                )
            if not (self.root / name).is_file():
                raise CheckpointError(f"{self.root} lacks the shard {name} that its index names; download it again")
            lookalikes.refuse_pointer(self.root / name)
        return tuple(self.root / name for name in names)

    def _listing(self) -> str:
        """The file that says where the weights are: what ``config.json`` names, or else one file, or else an index."""
        named = self.config.get("transformers_weights") if (self.root / CONFIG).is_file() else None
        if named is None:
            if not lookalikes.has_weights(self.root):
                raise lookalikes.weights_elsewhere(self.root)
            named = SINGLE if (self.root / SINGLE).is_file() else INDEX
        elif not isinstance(named, str) or not named.endswith((".safetensors", ".safetensors.index.json")):
            raise CheckpointError(
                f"{self.root / CONFIG}: transformers_weights is {brief(named)}; expected the name of a safetensors file"
                " or of its index"
            )
        elif Path(named).name != named or not (self.root / named).is_file():
            raise CheckpointError(
                f"{self.root} has no {brief(named)}, which transformers_weights of its config.json names; download it"
            )
        lookalikes.tell_of_leftovers(self.root, named)
        return named

    def _of_index(self, name: str) -> list[str]:
        index = self.json(name).get("weight_map")
        if not isinstance(index, dict) or not index:
            raise CheckpointError(f"{self.root / name} has no weight_map; download the file again")
        return sorted({str(shard) for shard in index.values()})
