"""The prompt as the checkpoint was trained to read it: turns in the checkpoint's chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clasp_trt.errors import PromptError
from clasp_trt.runtime.text.chat_sandbox import ChatEnvironment
from clasp_trt.runtime.text.messages import Dialogue

MAX_PROMPT_CHARACTERS = 1_000_000
MAX_TEMPLATE_CHARACTERS = 256_000


class ChatTemplate:
    """Renders one user turn or a conversation, with any number of images, ready for the tokenizer.

    The user's text is data to the template, never template code. Special tokens spelled out in it are another's to
    refuse (:mod:`clasp_trt.runtime.text.special`), but for the image token: it says where an image goes.
    """

    def __init__(
        self,
        template: str,
        image_token: str,
        special_tokens: Mapping[str, object] | None = None,
        *,
        video_token: str | None = None,
    ) -> None:
        """
        Args:
            template: Jinja source in the dialect of ``transformers``.
            image_token: the placeholder's spelling in the vocabulary, ``<image>`` for LLaVA.
            video_token: that of a clip; None of a model that takes none.
            special_tokens: what the template may call by name, such as ``{"bos_token": "<s>"}``; the
                values of a ``special_tokens_map.json`` are legal in both of their forms, others are ignored.

        Raises:
            PromptError: the template does not compile, or `image_token` is empty.
        """
        if not image_token:
            raise PromptError("the image token is empty; give its spelling in the tokenizer, such as <image>")
        if len(template) > MAX_TEMPLATE_CHARACTERS:
            raise PromptError(f"the chat template has {len(template)} characters; at most {MAX_TEMPLATE_CHARACTERS}")
        self.image_token, self.video_token = image_token, video_token
        self._special_tokens = _spellings(special_tokens or {})
        self._environment = ChatEnvironment()
        try:
            self._template = self._environment.template(template)
        except Exception as error:  # jinja2's errors, and those of Python's compiler for a tree too deep
            raise PromptError(f"the chat template is broken: {_reason(error)}") from error

    @property
    def bos(self) -> str | None:
        """The spelling of the special token that begins a text, if there is one."""
        return self._special_tokens.get("bos_token")

    def render(self, prompt: str, *, images: int = 0, clips: int = 0) -> str:
        """One user turn and the cue for the assistant to answer.

        Args:
            prompt: the user's text. If it holds the image token, as often as there are images, these go exactly
                there; otherwise before the text, where the template puts them. So do clips.
            images: how many images come with the prompt.
            clips: how many clips.

        Returns:
            The text to tokenize. It holds the image token once for each image, and that of clips for each clip.

        Raises:
            PromptError: an empty or overlong prompt, more or fewer image tokens than images, or a template that
                fails or loses an image.
        """
        if not prompt.strip():
            raise PromptError("the prompt is empty; ask something")
        _check_length(len(prompt))
        content = [{"type": "text", "text": prompt}]
        for kind, token, given in reversed(self._kinds(images, clips)):
            placed = prompt.count(token)
            if placed and not given:
                raise PromptError(f"the prompt holds {token} but no {kind} came with it; give one, or remove it")
            if placed and placed != given:
                raise PromptError(
                    f"the prompt holds {token} {placed} times, but {_count(given, kind)} came with it; write it once "
                    "for each, or not at all"
                )
            if not placed:
                content = [{"type": kind}] * given + content
        return self._with_images([{"role": "user", "content": content}], images, clips)

    def converse(self, dialogue: Dialogue) -> tuple[str, int]:
        """All messages and the cue for the assistant to answer.

        Returns:
            The text to tokenize, which holds the image token once for each image and that of clips for each clip, and
            where in it the text of the last message begins; 0 if that does not matter, since it shows something itself
            or nothing was shown.

        Raises:
            PromptError: an image token in a text, overlong texts, or a template that fails, loses an image or does not
                write the last message's text as it is.
        """
        texts = ["".join(p["text"] for p in each["content"] if p["type"] == "text") for each in dialogue.messages]
        _check_length(sum(map(len, texts)))
        kinds = self._kinds(len(dialogue.images), len(dialogue.clips))
        for kind, token, _ in kinds:
            if any(token in text for text in texts):
                raise PromptError(f"a message spells {token}; give {kind}s as parts of type '{kind}'")
        rendered = self._with_images(dialogue.messages, len(dialogue.images), len(dialogue.clips))
        if dialogue.last_shows or not (dialogue.images or dialogue.clips):
            return rendered, 0
        mark = "7418529630"
        while any(mark in text for text in (rendered, *texts)):
            mark += "7"
        first = next(n for n, part in enumerate(dialogue.messages[-1]["content"]) if part["text"].strip())
        parts = [dict(part) for part in dialogue.messages[-1]["content"]]
        parts[first]["text"] = mark + parts[first]["text"]
        before, found, _ = self._rendered([*dialogue.messages[:-1], {"role": "user", "content": parts}]).partition(mark)
        if not found or not rendered.startswith(before):
            raise PromptError(
                "the chat template does not write the last message's text where a text stands, so nothing can say "
                "which tokens of earlier images matter; show the image again in the last message"
            )
        return rendered, 0 if any(token in rendered[len(before) :] for _, token, _ in kinds) else len(before)

    def _kinds(self, images: int, clips: int) -> list[tuple[str, str, int]]:
        """What can be shown: what a template calls it, its token, and how many there are."""
        found = [("image", self.image_token, images)]
        return found if self.video_token is None else [*found, ("video", self.video_token, clips)]

    def _with_images(self, messages: Sequence[Mapping[str, Any]], images: int, clips: int) -> str:
        rendered = self._rendered(messages)
        for kind, token, given in self._kinds(images, clips):
            if (found := rendered.count(token)) != given:
                raise PromptError(
                    f"the chat template wrote {token} {found} times for {_count(given, kind)}; "
                    f"write {token} into the prompt, or use another template"
                )
        return rendered

    def _rendered(self, messages: Sequence[Mapping[str, Any]]) -> str:
        values = {
            **self._special_tokens,
            "messages": [dict(message) for message in messages],
            "tools": None,
            "documents": None,
            "add_generation_prompt": True,
        }
        try:
            return self._environment.render(self._template, values)
        except Exception as error:  # a template can raise whatever Python can
            raise PromptError(f"the chat template failed: {_reason(error)}") from error


def _spellings(tokens: Mapping[str, object]) -> dict[str, str]:
    """Names to strings, from entries such as ``"<s>"`` and ``{"content": "<s>", "lstrip": false}``."""
    contents = {name: value.get("content") if isinstance(value, Mapping) else value for name, value in tokens.items()}
    return {name: content for name, content in contents.items() if isinstance(content, str)}


def _check_length(characters: int) -> None:
    if characters > MAX_PROMPT_CHARACTERS:
        raise PromptError(f"the prompt has {characters} characters; at most {MAX_PROMPT_CHARACTERS}")


def _count(number: int, kind: str) -> str:
    return f"{number} {kind}{'' if number == 1 else 's'}"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
