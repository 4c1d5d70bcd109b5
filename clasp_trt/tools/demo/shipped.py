"""What comes with the package for the demo: a small trained checkpoint, and a question of each category."""

from __future__ import annotations

import os
from pathlib import Path

from clasp_trt.errors import CheckpointError

ASSETS = Path(__file__).resolve().parents[2] / "assets"
CHECKPOINT = ASSETS / "clasp-tiny"
QUESTIONS = ASSETS / "questions" / "D.jsonl"

_CONFIG = "config.json"
_POLICY = "policy.json"


def checkpoint(given: str | os.PathLike[str] | None) -> Path:
    """The folder ``given``, or the shipped one. Raises :class:`CheckpointError` where there is no checkpoint."""
    folder = CHECKPOINT if given is None else Path(given)
    if (folder / _CONFIG).is_file():
        return folder
    if given is None:
        raise CheckpointError(
            f"this copy of clasp-trt has no checkpoint for the demo ({folder} is missing); "
            "give a LLaVA checkpoint with --checkpoint, or train the small one as examples/clasp_tiny says"
        )
    raise CheckpointError(f"{folder} holds no {_CONFIG}; give the folder of a LLaVA checkpoint with --checkpoint")


def policy(folder: Path) -> Path | None:
    """The policy that was calibrated for a checkpoint and lies in its folder, if one does."""
    found = folder / _POLICY
    return found if found.is_file() else None
