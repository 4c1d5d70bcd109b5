"""What is asked in every run: the same pictures or none, one prompt, one length of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clasp_trt.runtime.media.processors import processor as processor_of
from clasp_trt.runtime.text.tokenizer import Tokenizer
from clasp_trt.tools.profile.sizes import size_of

if TYPE_CHECKING:
    from clasp_trt.bundle import Bundle
    from clasp_trt.policy import Policy

_SEED = 0
_WORDS = ("Describe", "what", "is", "in", "the", "picture", "and", "say", "how", "sure", "you", "are", "of", "it")


@dataclass(frozen=True, eq=False)
class Workload:
    """A request, about text alone if there are no ``images``. ``category`` None leaves it to the router.

    An answer has exactly ``new_tokens`` tokens, at least 2. ``policy`` takes the place of the bundle's own; ``method``
    is a name among :data:`clasp_trt.methods.METHODS`; ``router`` is a folder that ``clasp-trt router`` made, None for
    each bundle's own. ``lookup`` is how many tokens a step may propose; draws are the same in every run then, so that
    steps are.
    """

    images: tuple[Image.Image, ...]
    prompt: str
    category: str | None
    new_tokens: int
    policy: Policy | None = None
    method: str | None = None
    router: str | None = None
    lookup: int = 0


def noise(bundle: Bundle, number: int = 0, tokens: int | None = None) -> Image.Image:
    """The same picture of noise each time for the same ``number``, of ``tokens`` visual tokens, or of as many as the
    bundle is tuned for. Raises :class:`clasp_trt.errors.ImageError` for a number of tokens that no picture has."""
    processor = bundle.manifest.media.image.processor
    height, width = processor.usual_size if tokens is None else size_of(processor, tokens)
    pixels = np.random.default_rng(_SEED + number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def picture_tokens(bundle: Bundle, workload: Workload) -> list[int]:
    """How many visual tokens each picture becomes there."""
    count = processor_of(bundle.manifest.media.among(len(workload.images))).count
    return [count(image.height, image.width) for image in workload.images]


def words(bundle: Bundle, tokens: int) -> str:
    """A prompt of as many words as fit into ``tokens`` tokens of the bundle's tokenizer, one word at least."""
    tokenizer = Tokenizer.from_file(bundle.path("tokenizer.json"))

    def text(count: int) -> str:
        return " ".join(_WORDS[number % len(_WORDS)] for number in range(count))

    low, high = 1, max(1, tokens)  # a word is at least a token
    while low < high:
        middle = (low + high + 1) // 2
        if len(tokenizer.encode(text(middle), add_special_tokens=False)) <= tokens:
            low = middle
        else:
            high = middle - 1
    return text(low)
