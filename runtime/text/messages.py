"""A conversation as it is given: messages of roles and parts, in the form of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clasp_trt.brief import brief
from clasp_trt.errors import PromptError

ROLES = ("system", "user", "assistant")
SOURCES = ("url", "path", "base64")
"""Where a part of type ``image`` or ``video`` may say what it shows, besides under the name of its type."""
_TEXT, _IMAGE, _LINK, _VIDEO = "text", "image", "image_url", "video"


@dataclass(frozen=True, eq=False)
class Dialogue:
    """``messages`` as a chat template takes them, their contents lists of parts; ``images`` are what the parts of type
    ``image`` show, in order, and ``clips`` those of type ``video``; ``asked`` is the text of the last message, which is
    the user's."""

    messages: tuple[Mapping[str, Any], ...]
    images: tuple[Any, ...]
    asked: str
    clips: tuple[Any, ...] = ()

    @property
    def last_shows(self) -> bool:
        """Whether the last message has an image or video."""
        return any(part["type"] != _TEXT for part in self.messages[-1]["content"])


def dialogue(messages: object) -> Dialogue:
    """What ``messages`` say: a list of ``{"role": ..., "content": ...}``, where the content is a string or a list of
    ``{"type": "text", "text": ...}`` and ``{"type": "image", "image": ...}``, with ``url``, ``path`` or ``base64`` in
    place of the second ``image``, or ``{"type": "image_url", "image_url": {"url": ...}}``; and ``video`` likewise in
    place of both.

    Raises :class:`PromptError` for any other form, and unless the last message is the user's and has text.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, (str, bytes)) or not messages:
        raise PromptError(f"messages is {brief(messages)}; expected a list of messages, the last one the user's")
    shown: dict[str, list[object]] = {_IMAGE: [], _VIDEO: []}
    read = tuple(_message(each, f"messages[{number}]", shown) for number, each in enumerate(messages))
    if read[-1]["role"] != "user":
        raise PromptError(f"the last of the messages is of role '{read[-1]['role']}'; expected one of 'user' to answer")
    asked = "\n".join(part[_TEXT] for part in read[-1]["content"] if part["type"] == _TEXT)
    if not asked.strip():
        raise PromptError("the last message has no text; ask something")
    return Dialogue(read, tuple(shown[_IMAGE]), asked, tuple(shown[_VIDEO]))


def _message(given: object, place: str, shown: Mapping[str, list[object]]) -> dict[str, Any]:
    """The message with its content as a list of parts; adds what it shows to ``shown``, by the type of its part."""
    if not isinstance(given, Mapping):
        raise PromptError(f"{place} is {brief(given)}; expected an object with 'role' and 'content'")
    role, content = given.get("role"), given.get("content")
    if role not in ROLES:
        raise PromptError(f"{place}: its role is {brief(role)}; expected one of {', '.join(ROLES)}")
    if isinstance(content, str):
        content = [{"type": _TEXT, _TEXT: content}]
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise PromptError(f"{place}: its content is {brief(content)}; expected a string or a list of parts")
    return {"role": role, "content": list(_parts(content, f"{place}.content", shown))}


def _parts(content: Sequence[object], place: str, shown: Mapping[str, list[object]]) -> Iterator[dict[str, Any]]:
    for number, part in enumerate(content):
        here = f"{place}[{number}]"
        kind = part.get("type") if isinstance(part, Mapping) else None
        if not isinstance(part, Mapping) or kind not in (_TEXT, _IMAGE, _LINK, _VIDEO):
            raise PromptError(f"{here} is {brief(part)}; expected a part of type 'text', 'image' or 'video'")
        if kind == _TEXT:
            if not isinstance(part.get(_TEXT), str):
                raise PromptError(f"{here}: its text is {brief(part.get(_TEXT))}; expected a string")
            yield {"type": _TEXT, _TEXT: part[_TEXT]}
        else:
            type = _VIDEO if kind == _VIDEO else _IMAGE
            shown[type].append(_linked(part, here) if kind == _LINK else _shown(part, here, type))
            yield {"type": type}


def _shown(part: Mapping[str, object], place: str, kind: str) -> object:
    sources = (kind, *SOURCES)
    named = [name for name in sources if part.get(name) is not None]
    if len(named) != 1:
        what = f"both {named[0]} and {named[1]}" if named else "none"
        raise PromptError(f"{place}: of {', '.join(sources)} it must have one, but it has {what}")
    return part[named[0]]


def _linked(part: Mapping[str, object], place: str) -> object:
    link = part.get(_LINK)
    url = link.get("url") if isinstance(link, Mapping) else link
    if not isinstance(url, str):
        raise PromptError(f"{place}: its image_url is {brief(link)}; expected an object with a url")
    return url
