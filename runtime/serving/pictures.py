"""The pictures of a request: found in its messages, and read within bounds. No string of a client's is ever taken for
the name of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from PIL import Image

from clasp_trt.errors import ImageError
from clasp_trt.filming import Sampling
from clasp_trt.runtime.media.clip import Clip, load_clip
from clasp_trt.runtime.media.image import load_image
from clasp_trt.runtime.media.texts import DATA, from_data_url
from clasp_trt.runtime.serving.problem import Problem, too_large
from clasp_trt.runtime.serving.settings import Settings
from clasp_trt.runtime.serving.wire import ChatRequest, ImagePart, Link, TextPart, VideoPart


class Shown(NamedTuple):
    """Where in a request a picture or clip stands, and its address."""

    place: str
    link: Link
    moves: bool

    @property
    def here(self) -> bool:
        """Whether the address holds the picture itself."""
        return self.link.url[: len(DATA)].lower() == DATA


def shown(asked: ChatRequest) -> Iterator[Shown]:
    """Every picture and clip, in the order of the messages."""
    for number, message in enumerate(asked.messages):
        if isinstance(message.content, str):
            continue
        for index, part in enumerate(message.content):
            place = f"messages[{number}].content[{index}]"
            if isinstance(part, ImagePart):
                yield Shown(f"{place}.image_url.url", part.image_url, False)
            elif isinstance(part, VideoPart):
                yield Shown(f"{place}.video_url.url", part.video_url, True)


def encoded(each: Shown, settings: Settings) -> bytes:
    """What a ``data:`` URL holds. Raises :class:`Problem`."""
    url, limit = each.link.url, settings.max_image_bytes
    if not each.here:
        raise Problem(400, f"{each.place} is no data: URL", param=each.place, code="host_not_allowed")
    if len(url) > 3 * limit:
        raise too_large("the picture", limit, each.place)
    try:
        data = from_data_url(url, len(url))
    except ImageError as error:
        raise Problem(400, str(error), param=each.place, code="invalid_image") from None
    if len(data) > limit:
        raise too_large("the picture", limit, each.place)
    return data


def decoded(each: Shown, data: bytes, settings: Settings, sampling: Sampling | None) -> Image.Image | Clip:
    """The picture, or the frames that ``sampling`` takes of a clip. Raises :class:`Problem`."""
    try:
        if not each.moves:
            return load_image(data, sources=(), max_pixels=settings.max_image_pixels)
        if sampling is None:
            raise ImageError("this model takes no clips; send frames as pictures")
        return load_clip(data, sampling=sampling, sources=(), max_pixels=settings.max_image_pixels)
    except ImageError as error:
        raise Problem(400, str(error), param=each.place, code="invalid_image") from None


def messages(asked: ChatRequest, read: Mapping[str, Image.Image | Clip]) -> list[dict[str, Any]]:
    """The conversation in the runtime's form, with what was ``read`` in place of each address."""
    found = []
    for number, message in enumerate(asked.messages):
        parts: list[dict[str, Any]] = []
        content = message.content
        for index, part in enumerate([TextPart(type="text", text=content)] if isinstance(content, str) else content):
            place = f"messages[{number}].content[{index}]"
            if isinstance(part, TextPart):
                parts.append({"type": "text", "text": part.text})
            elif isinstance(part, ImagePart):
                parts.append({"type": "image", "image": read[f"{place}.image_url.url"]})
            else:
                parts.append({"type": "video", "video": read[f"{place}.video_url.url"]})
        found.append({"role": "system" if message.role == "developer" else message.role, "content": parts})
    return found
