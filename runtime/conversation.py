"""A conversation that goes on: each question is asked with all that was said before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clasp_trt.runtime.answer import Answer
from clasp_trt.runtime.encoded import Encoded, Picture
from clasp_trt.runtime.media.clip import ClipSource
from clasp_trt.runtime.media.image import load_image
from clasp_trt.runtime.pipeline import Pipeline
from clasp_trt.runtime.wishes import Wishes

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Conversation:
    """Asks ``pipeline``, after the instruction ``system`` if one is given, and remembers.

    An answer that was not made to its end is forgotten with its question.
    """

    def __init__(self, pipeline: Pipeline, *, system: str | None = None) -> None:
        self._pipeline = pipeline
        self._said: list[Mapping[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
        self._last: tuple[Mapping[str, Any], Answer] | None = None

    @property
    def messages(self) -> tuple[Mapping[str, Any], ...]:
        """What was said so far, as :meth:`Pipeline.chat` takes it."""
        if self._last is not None and self._last[1].finished:
            asked, answer = self._last
            self._said += [asked, {"role": "assistant", "content": answer.result.text}]
            self._last = None
        return tuple(self._said)

    def ask(self, text: str, *images: Picture, video: ClipSource | None = None, **wishes: Unpack[Wishes]) -> Answer:
        """The answer to ``text``, about ``images``, a clip after them, and what was shown before, as it is made;
        ``.result`` has the whole.

        All of it is read now, once for all answers. Raises what :meth:`Pipeline.stream_chat` raises, and then nothing
        was said.
        """
        shown = [image if isinstance(image, Encoded) else load_image(image) for image in images]
        parts: list[dict[str, Any]] = [{"type": "image", "image": image} for image in shown]
        if video is not None:
            parts.append({"type": "video", "video": self._pipeline.load_clip(video)})
        parts.append({"type": "text", "text": text})
        before, asked = self.messages, {"role": "user", "content": parts}
        answer = self._pipeline.stream_chat([*before, asked], **wishes)
        self._last = asked, answer
        return answer
