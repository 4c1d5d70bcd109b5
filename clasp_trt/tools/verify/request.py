"""The one request on which a bundle and its checkpoint are compared, as the runtime would see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from clasp_trt.errors import PromptError
from clasp_trt.runtime.media.processors import processor
from clasp_trt.runtime.routing.folder import router_for
from clasp_trt.runtime.routing.router import Route
from clasp_trt.runtime.text.prompt import Prompt, PromptReader

if TYPE_CHECKING:
    from PIL.Image import Image

    from clasp_trt.bundle import Bundle


@dataclass(frozen=True, eq=False)
class Request:
    """The inputs of the ``vision`` graph by port name, those that the projector takes besides, a tokenised prompt and
    the category that it is routed to."""

    vision: Mapping[str, NDArray[Any]]
    pack: Mapping[str, NDArray[Any]]
    prompt: Prompt
    route: Route

    @classmethod
    def of(cls, bundle: Bundle, image: Image, text: str) -> Request:
        """Preprocesses, tokenizes and routes. Raises :class:`PromptError` for a prompt that the bundle cannot take."""
        room = bundle.manifest.max_context
        seen = processor(bundle.manifest.media.image.processor)(image)
        prompt = PromptReader(bundle).read(text, seen.blocks)
        if len(prompt.input_ids) >= room:
            raise PromptError(
                f"the prompt takes {len(prompt.input_ids)} positions of the bundle's {room}, the image among them; "
                f"shorten it by {len(prompt.input_ids) - room + 1} tokens"
            )
        return cls(
            seen.vision,
            seen.pack,
            prompt,
            router_for(bundle.policy, bundle).route(text),
        )
