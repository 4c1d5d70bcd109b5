"""What a request becomes in a bundle, against what transformers' own loaders make of it by the checkpoint's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clasp_trt.bundle import MANIFEST, Bundle
from clasp_trt.chain import port
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.stock import stock
from clasp_trt.tools.verify.report import Check
from clasp_trt.tools.verify.request import Request
from clasp_trt.tools.verify.runners import largest_difference

if TYPE_CHECKING:
    from PIL.Image import Image

STAGE = "request"
_ROUNDINGS = 8
_SLENDER = 100
"""Long side over short side of pictures that are resized in part, which may move a value by one of its 256 steps."""


def inputs_against_stock(
    bundle: Bundle, checkpoint: Checkpoint, request: Request, image: Image, prompt: str
) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Checks of pixels, token ids and stop tokens; without those, why they could not be compared."""
    try:
        theirs = stock(checkpoint, image, prompt)
    except CheckpointError as error:
        return (), (f"the request was not compared: {error}",)
    pixels, model = request.vision[port.PIXEL_VALUES], bundle.manifest.model
    off = largest_difference(theirs.pixel_values, pixels)
    largest = float(np.abs(theirs.pixel_values).max())
    rounding = largest * float(np.finfo(np.float32).eps)
    slender = max(image.size) > _SLENDER * min(image.size)
    processor = bundle.manifest.media.image.processor
    allowed = processor.rescale / min(processor.std) + rounding if slender else _ROUNDINGS * rounding
    ids = _differing(theirs.input_ids.tolist(), request.prompt.input_ids.tolist())
    stops = len({*theirs.stop_token_ids} ^ {*model.stop_token_ids})
    return (
        Check(STAGE, port.PIXEL_VALUES, MANIFEST, off, off / largest if off else off, rounding, allowed),
        Check(STAGE, port.INPUT_IDS, "tokenizer.json", ids, ids, 0.0, 0.0),
        Check(STAGE, "stop_token_ids", MANIFEST, stops, stops, 0.0, 0.0),
    ), ()


def other_inputs(model: str) -> str:
    """What explains a request that becomes another."""
    return (
        f"transformers' own loaders make something else of the files of {model}: they were changed since the bundle "
        "was built, or it was built by a version that read others (docs/checkpoint-files.md)"
    )


def _differing(expected: list[int], found: list[int]) -> int:
    """In how many places two sequences differ; what one has beyond the other counts."""
    differing = sum(one != other for one, other in zip(expected, found, strict=False))
    return differing + abs(len(expected) - len(found))
