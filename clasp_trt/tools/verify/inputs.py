"""What a request becomes in a bundle, against what transformers' own loaders make of it by the checkpoint's files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from clasp_trt.bundle import MANIFEST, Anyres, Bundle, Grid, Longest, Ratio
from clasp_trt.chain import port
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.stock import stock
from clasp_trt.tools.request import Request
from clasp_trt.tools.verify.report import Check
from clasp_trt.tools.verify.runners import largest_difference

if TYPE_CHECKING:
    from PIL.Image import Image

    from clasp_trt.bundle.media import Processor

STAGE = "request"
_ROUNDINGS = 8
_SLENDER = 100
"""Long side over short side of pictures that are resized in part, which may move a value by one of its 256 steps."""


def inputs_against_stock(
    bundle: Bundle,
    checkpoint: Checkpoint,
    request: Request,
    images: Sequence[Image],
    prompt: str,
    *,
    capped: bool = False,
) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Checks of pixels, token ids and stop tokens; without those, why they could not be compared. ``capped``: the
    bundle's pictures are smaller than the checkpoint's may be."""
    processor = bundle.manifest.media.among(len(images))
    try:
        theirs = stock(checkpoint, images, prompt, _sizes(processor) if capped else {})
    except CheckpointError as error:
        return (), (f"the request was not compared: {error}",)
    name, model = processor.inputs[0].name, bundle.manifest.model
    off = max(
        largest_difference(pixels, seen.vision[name])
        for pixels, seen in zip(theirs.pixel_values, request.seen, strict=True)
    )
    largest = max(float(np.abs(pixels).max()) for pixels in theirs.pixel_values)
    rounding = largest * float(np.finfo(np.float32).eps)
    slender = any(max(image.size) > _SLENDER * min(image.size) for image in images)
    allowed = processor.rescale / min(processor.std) + rounding if slender else _ROUNDINGS * rounding
    ids = _differing(theirs.input_ids.tolist(), request.prompt.input_ids.tolist())
    stops = len({*theirs.stop_token_ids} ^ {*model.stop_token_ids})
    return (
        Check(STAGE, name, MANIFEST, off, off / largest if off else off, rounding, allowed),
        Check(STAGE, port.INPUT_IDS, "tokenizer.json", ids, ids, 0.0, 0.0),
        Check(STAGE, "stop_token_ids", MANIFEST, stops, stops, 0.0, 0.0),
    ), ()


def _sizes(processor: Processor) -> dict[str, object]:
    """The settings of transformers' image processor that make pictures as small as those of ``processor``."""
    if isinstance(processor, Anyres):
        return {"image_grid_pinpoints": [list(each) for each in processor.pinpoints]}
    if isinstance(processor, Grid):
        return {"size": {"shortest_edge": processor.least_pixels, "longest_edge": processor.most_pixels}}
    if isinstance(processor, Ratio):
        return {"min_patches": processor.least, "max_patches": processor.most}
    if isinstance(processor, Longest):
        return {"size": {"longest_edge": processor.longest}}
    return {}


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
