"""A request's text as the decoder takes it: chat template, token ids, and which rows are visual tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BundleError, PromptError
from clasp_trt.runtime.text.chat import ChatTemplate
from clasp_trt.runtime.text.tokenizer import Tokenizer
from clasp_trt.storage import foreign


@dataclass(frozen=True)
class Prompt:
    """A tokenised request. ``visual_index`` and ``reference_index`` are int64 rows of the sequence: the visual tokens,
    and the text after them, which is the reference set of the saliency."""

    input_ids: np.ndarray
    visual_index: np.ndarray
    reference_index: np.ndarray


class PromptReader:
    """Makes a :class:`Prompt` of what a user wrote, by the bundle's chat template and :attr:`tokenizer`."""

    def __init__(self, bundle: Bundle) -> None:
        self._model = bundle.manifest.model
        self._asks = any(stage.after_layer >= 0 for stage in bundle.manifest.schedule.stages)
        self.tokenizer = Tokenizer.from_file(bundle.path("tokenizer.json"))
        template = bundle.path("chat_template.jinja").read_text(encoding="utf-8")
        self._chat = ChatTemplate(template, self._model.image_token, read_object(bundle, "special_tokens_map.json"))

    def read(self, text: str, *, with_image: bool) -> Prompt:
        """Token ids with one id for each visual token, and where they are. Raises :class:`PromptError`."""
        ids = np.array(self.tokenizer.encode_chat(self._chat.render(text, with_image=with_image)), dtype=np.int64)
        image_id, count = self._model.image_token_id, self._model.vision.tokens
        places = np.flatnonzero(ids == image_id)
        if not with_image:
            if len(places):
                raise PromptError(f"the prompt contains {self._model.image_token}, but there is no image")
            return Prompt(ids, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
        if len(places) != 1:
            raise PromptError(
                f"the rendered prompt holds {len(places)} image tokens, expected one; "
                "check the bundle's chat_template.jinja"
            )
        start = int(places[0])
        ids = np.concatenate([ids[:start], np.full(count, image_id), ids[start + 1 :]])
        if self._asks and start + count == len(ids):
            raise PromptError(
                "no text follows the image, so nothing can say which of its tokens matter; put the question after it"
            )
        return Prompt(ids, np.arange(start, start + count), np.arange(start + count, len(ids)))


def read_object(bundle: Bundle, name: str) -> dict[str, Any]:
    """The JSON object in a bundle's file ``name``. Raises :class:`BundleError` for anything else."""
    return foreign.read_object(bundle.path(name), BundleError, "rebuild the bundle")
