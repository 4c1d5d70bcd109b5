"""Files of others, such as a checkpoint's ``config.json``: what they put in beside what we know is no mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clasp_trt.brief import brief, reason
from clasp_trt.errors import ClaspError


def read_text(path: Path, error: type[ClaspError], cure: str) -> str:
    """The text in a file. Raises ``error``, with ``cure`` for what to do, if it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as failed:
        raise error(f"{path} cannot be read as text ({reason(failed)}); {cure}") from None


def read_object(path: Path, error: type[ClaspError], cure: str) -> dict[str, Any]:
    """The JSON object in a file. Raises ``error``, with ``cure`` for what to do, for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as failed:
        raise error(f"{path} cannot be read as JSON ({failed}); {cure}") from None
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, got {brief(value)}; {cure}")
    return value
