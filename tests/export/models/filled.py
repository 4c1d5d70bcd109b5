"""What transformers makes of a config that lacks fields: the config with all of its defaults, or a refusal."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

PARTS = ("text_config", "vision_config")


def filled(config: dict[str, Any]) -> dict[str, Any] | None:
    """``config`` with everything that transformers fills in, as JSON would carry it; None if it refuses it."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        made = AutoConfig.for_model(**copy.deepcopy(config))
        whole: dict[str, Any] = json.loads(made.to_json_string(use_diff=False))
        return {**whole, "model_type": config["model_type"]}
    except (StrictDataclassError, ValueError, TypeError, AttributeError, KeyError):
        return None


def lacking(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """``config`` without one of its fields, or with null in its place, for each; and what is changed."""
    places = [("", key) for key in config if key != "model_type"]
    places += [(part, key) for part in PARTS for key in config[part]]
    for part, key in places:
        for null in (False, True):
            changed = copy.deepcopy(config)
            inner = changed[part] if part else changed
            del inner[key]
            if null:
                inner[key] = None
            yield f"{part}.{key} {'null' if null else 'gone'}", changed
