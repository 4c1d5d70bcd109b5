"""Bundles of schema 1, which no version writes any more, made of new ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any


def downgraded(bundle: Path, to: Path) -> Path:
    """A copy at ``to`` of the bundle at ``bundle``, with a manifest as versions up to 0.1.0 wrote it."""
    shutil.copytree(bundle, to)
    new = json.loads((to / "clasp.json").read_text(encoding="utf-8"))
    (to / "clasp.json").write_text(json.dumps(old_manifest(new), indent=2) + "\n", encoding="utf-8")
    return to


def old_manifest(new: dict[str, Any]) -> dict[str, Any]:
    """What schema 1 says where schema 2 says ``new``."""
    model, image = new["model"], new["media"]["image"]
    processor, layout = image["processor"], image["layout"]
    old = {
        "model_type": model["model_type"],
        "name": model["name"],
        "vision": {
            "layers": model["vision"]["layers"],
            "width": model["vision"]["width"],
            "image_size": processor["side"],
            "patch_size": processor["cell"],
            "tokens": model["tokens"][0],
            "feature_layer": model["vision"]["feature_layer"],
        },
        "decoder": {name: size for name, size in model["decoder"].items() if name not in ("axes", "visible")},
        "image_token": layout["token"],
        "image_token_id": layout["id"],
        "stop_token_ids": model["stop_token_ids"],
    }
    rest = {name: value for name, value in new.items() if name not in ("schema", "model", "media")}
    return {"schema": 1, "model": old, **rest}
