"""Questions as files: pictures, ``D.jsonl``, and a manifest of hashes that says whether another machine drew the same.

Everything is written beside its destination and renamed when complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import PIL

from examples.shapesvqa.sampling import sample

DATA, MANIFEST, IMAGES = "D.jsonl", "manifest.json", "images"

FORMATS: dict[str, dict[str, Any]] = {"png": {"optimize": False}, "jpg": {"quality": 95, "subsampling": 0}}
"""Extension to the encoder's settings; JPEG without colour subsampling, which would smear 12 px shapes."""


class GenerateError(ValueError):
    """What was asked for cannot be written; one line."""


def generate(
    out: Path, *, split: str, images: int, seed: int, size: int, per_category: int = 1, extension: str = "png"
) -> dict[str, object]:
    """Writes a folder of ``images`` pictures of the seeds from ``seed`` on, with their questions.

    Args:
        out: a folder that does not exist or is empty.
        size: width and height, px.
        extension: a key of FORMATS.

    Returns:
        The manifest, as written: what was asked for, the version of Pillow, the number of questions per category,
        and the SHA-256 of every file.

    Raises:
        GenerateError: the destination holds something, or is no folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise GenerateError(f"{out}: already there; name a folder that does not exist or is empty")
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        manifest = _write(staging, split, images, seed, size, per_category, extension)
        staging.chmod(0o755)
        if out.exists():
            out.rmdir()
        os.replace(staging, out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def _write(
    root: Path, split: str, images: int, seed: int, size: int, per_category: int, extension: str
) -> dict[str, object]:
    (root / IMAGES).mkdir()
    hashes: dict[str, str] = {}
    pixels = hashlib.sha256()
    categories: Counter[str] = Counter()
    with (root / DATA).open("w", encoding="utf-8", newline="\n") as rows:
        for number in range(seed, seed + images):
            image, questions = sample(number, split, size=size, per_category=per_category)
            name = f"{IMAGES}/{split}-{number:07d}.{extension}"
            image.save(root / name, **FORMATS[extension])
            hashes[name] = _sha256(root / name)
            pixels.update(image.tobytes())
            for question in questions:
                row = {
                    "image": name,
                    "prompt": question.prompt,
                    "answer": question.answer,
                    "category": question.category,
                }
                rows.write(json.dumps(row) + "\n")
                categories[question.category] += 1
    manifest: dict[str, object] = {
        "generator": "shapesvqa",
        "schema": 1,
        "pillow": PIL.__version__,
        "split": split,
        "images": images,
        "seed": seed,
        "size": size,
        "per_category": per_category,
        "questions": dict(sorted(categories.items())),
        "pixels_sha256": pixels.hexdigest(),
        "files": {DATA: _sha256(root / DATA), **hashes},
    }
    (root / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8", newline="\n")
    return manifest


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
