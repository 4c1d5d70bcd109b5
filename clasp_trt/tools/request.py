"""A request as the runtime would see it, for what computes with a checkpoint's own modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clasp_trt.errors import PromptError
from clasp_trt.runtime.fitting import check_images
from clasp_trt.runtime.media.clip import Clip
from clasp_trt.runtime.media.processors import processor
from clasp_trt.runtime.media.processors.clips import clip_processor
from clasp_trt.runtime.media.seen import Seen
from clasp_trt.runtime.routing.folder import router_for
from clasp_trt.runtime.routing.router import Route
from clasp_trt.runtime.text.prompt import Prompt, PromptReader

if TYPE_CHECKING:
    from PIL.Image import Image

    from clasp_trt.bundle import Bundle


@dataclass(frozen=True, eq=False)
class Request:
    """What the model sees of each image, a tokenised prompt and the category that it is routed to; ``steps`` are the
    first image as a clip of one frame, where clips go through graphs of their own."""

    seen: tuple[Seen, ...]
    steps: tuple[Seen, ...]
    prompt: Prompt
    route: Route

    @classmethod
    def of(cls, bundle: Bundle, images: Sequence[Image], text: str) -> Request:
        """Preprocesses, tokenizes and routes. Raises :class:`PromptError` for a prompt that the bundle cannot take, and
        :class:`~clasp_trt.errors.ImageError` for too many images."""
        check_images(len(images), bundle)
        room = bundle.manifest.max_context
        process = processor(bundle.manifest.media.among(len(images)))
        seen = tuple(process(image) for image in images)
        prompt = PromptReader(bundle).read(text, *(each.blocks for each in seen))
        if len(prompt.input_ids) >= room:
            raise PromptError(
                f"the prompt takes {len(prompt.input_ids)} positions of the bundle's {room}, the image among them; "
                f"shorten it by {len(prompt.input_ids) - room + 1} tokens"
            )
        return cls(seen, _steps(bundle, images[0]), prompt, router_for(bundle.policy, bundle).route(text))


def _steps(bundle: Bundle, frame: Image) -> tuple[Seen, ...]:
    video = bundle.manifest.media.video
    if video is None or not bundle.manifest.own_to_clips:
        return ()
    return clip_processor(video.processor)(Clip((frame,), (0.0,))).steps
