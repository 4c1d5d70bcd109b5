"""The one request on which a bundle and its checkpoint are compared, as the runtime would see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clasp_trt.errors import PromptError
from clasp_trt.runtime.media.preprocess import Preprocessor
from clasp_trt.runtime.routing.folder import router_for
from clasp_trt.runtime.routing.router import Route
from clasp_trt.runtime.text.prompt import Prompt, PromptReader, read_object

if TYPE_CHECKING:
    from PIL.Image import Image

    from clasp_trt.bundle import Bundle


@dataclass(frozen=True, eq=False)
class Request:
    """``pixels`` float32 ``[1, 3, size, size]``, a tokenised prompt and the category that it is routed to."""

    pixels: NDArray[np.float32]
    prompt: Prompt
    route: Route

    @classmethod
    def of(cls, bundle: Bundle, image: Image, text: str) -> Request:
        """Preprocesses, tokenizes and routes. Raises :class:`PromptError` for a prompt that the bundle cannot take."""
        room = bundle.manifest.max_context
        prompt = PromptReader(bundle).read(text, with_image=True)
        if len(prompt.input_ids) >= room:
            raise PromptError(
                f"the prompt takes {len(prompt.input_ids)} positions of the bundle's {room}, the image among them; "
                f"shorten it by {len(prompt.input_ids) - room + 1} tokens"
            )
        return cls(
            Preprocessor.from_json(read_object(bundle, "preprocessor_config.json"))([image]),
            prompt,
            router_for(bundle.policy, bundle).route(text),
        )
