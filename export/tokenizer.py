"""A checkpoint's tokenizer as transformers loads it, from whichever of its files: ``docs/checkpoint-files.md``.

Which files count hangs on the class that ``tokenizer_config.json`` names, and on what each of them lacks: tokens that
it alone knows are added to those of ``tokenizer.json``, some classes build the pipeline anew. So transformers itself is
asked, once, and what it made is what a bundle holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clasp_trt.charsmap import check_charsmaps
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.growth import check_growth
from clasp_trt.panics import held_reports, panics_raise

_FILE = "tokenizer.json"


@dataclass(frozen=True)
class Tokenizer:
    """``text`` is what ``tokenizer.json`` of a bundle holds, ``special`` are the spellings that a chat template may ask
    for by name, such as ``bos_token``, and ``added`` those of added tokens by their ids."""

    text: str
    special: Mapping[str, str]
    added: Mapping[int, str]

    @classmethod
    def of(cls, checkpoint: Checkpoint, prepare: Callable[[Any], None] = lambda tokenizer: None) -> Tokenizer:
        """``prepare`` does to transformers' tokenizer what a model's processor does when it takes it over.

        Raises :class:`CheckpointError` for a folder without a tokenizer that the ``tokenizers`` library can run.
        """
        from transformers import AutoTokenizer

        from clasp_trt.export.loading import quietly

        files: Any = [path.name for path in checkpoint.root.iterdir()]
        if _FILE in files:
            checkpoint.json(_FILE)  # refuses a malformed one in words of our own
        elif not {"tokenizer.model", "vocab.json", "vocab.txt", "tekken.json"}.intersection(files):
            raise CheckpointError(f"{checkpoint.root} has no {_FILE}; download the whole repository of the model")
        try:
            with quietly(), panics_raise(ValueError, "the tokenizers library cannot run it"), held_reports():
                if _FILE in files:
                    check_charsmaps((checkpoint.root / _FILE).read_text(encoding="utf-8"))
                found: Any = AutoTokenizer.from_pretrained(str(checkpoint.root), local_files_only=True)
                prepare(found)
                backend = getattr(found, "backend_tokenizer", None)
                if backend is not None:
                    check_growth(backend)
        except Exception as error:  # the Rust side raises bare Exception for a malformed file
            raise CheckpointError(
                f"the tokenizer of {checkpoint.root} cannot be loaded by transformers: {_reason(error)}; "
                f"take the {_FILE} that belongs to the checkpoint"
            ) from None
        if backend is None:
            raise CheckpointError(
                f"the tokenizer of {checkpoint.root} ({type(found).__name__}) has no {_FILE}; load it once with "
                "transformers' fast class and call save_pretrained(folder)"
            )
        if getattr(found, "split_special_tokens", False):
            raise CheckpointError(
                f"{checkpoint.root}: split_special_tokens of tokenizer_config.json is true, which is not supported; "
                "expected false, so that the image's token stays one"
            )
        special = {name: str(value) for name, value in found.special_tokens_map.items() if isinstance(value, str)}
        added = {id: str(token) for id, token in found.added_tokens_decoder.items()}
        return cls(backend.to_str(), special, added)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
