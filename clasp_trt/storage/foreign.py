"""JSON of others, such as a checkpoint's ``config.json``: what they put in beside what we know is no mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clasp_trt.brief import brief
from clasp_trt.errors import ClaspError


def read_object(path: Path, error: type[ClaspError], cure: str) -> dict[str, Any]:
    """The JSON object in a file. Raises ``error``, with ``cure`` for what to do, for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as reason:
        raise error(f"{path} cannot be read as JSON ({reason}); {cure}") from None
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, got {brief(value)}; {cure}")
    return value
