"""Families whose pictures differ in their number of tokens, as small checkpoints of random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from PIL import Image

import clasp_trt
from clasp_trt.runtime.encoded import Pictures
from examples import random_llava, random_qwen
from tests.gpu.harness.engines import PHOTO, PROMPTS, check_same

FAMILIES: Mapping[str, Callable[[Path], Path]] = {
    "qwen2_5_vl": lambda out: random_qwen.make(out, random_qwen.PRESETS["tiny-qwen2.5"]),
    "llava_next": lambda out: random_llava.make(out, random_llava.PRESETS["tiny-next"]),
}
"""Patches of any grid, windows and positions on three axes; tiles, and tokens that an index packs."""


def requests() -> tuple[Pictures, ...]:
    """A photograph, its middle as a slender picture, one of few tokens, two in a request, and text alone."""
    with Image.open(PHOTO) as image:
        photo = image.convert("RGB").resize((150, 100))
    slender, small = photo.crop((60, 0, 90, 100)), photo.resize((84, 84))
    return photo, slender, small, [photo, slender], None


def check_shapes(root: Path, new_tokens: int = 12) -> set[int]:
    """A bundle for two pictures answers every request as its graphs do on the CPU, one after another; returns how many
    visual tokens there were."""
    seen = set[int]()
    with clasp_trt.load(root) as ours, clasp_trt.load(root, provider="cpu") as theirs:
        for pictures in requests():
            for prompt in PROMPTS[:2]:
                found, expected = (
                    each.generate(pictures, prompt, max_new_tokens=new_tokens, ignore_stop=True)
                    for each in (ours, theirs)
                )
                check_same(found, expected)
                seen.add(found.visual_tokens)
    return seen
