"""The prompt as the checkpoint was trained to read it: one user turn in the checkpoint's chat template."""

from __future__ import annotations

from collections.abc import Mapping

from clasp_trt.errors import PromptError
from clasp_trt.runtime.text.chat_sandbox import ChatEnvironment

MAX_PROMPT_CHARACTERS = 1_000_000
MAX_TEMPLATE_CHARACTERS = 256_000


class ChatTemplate:
    """Renders one user turn, with any number of images, ready for the tokenizer.

    The user's text is data to the template, never template code. It is *not* escaped for the tokenizer: a
    special token spelled out in it (``</s>``, ``<|im_end|>``) becomes that token, exactly as in
    ``transformers``; a service that takes prompts from strangers and cares about that should strip those
    strings first. The image token is the exception: it says where an image goes.
    """

    def __init__(self, template: str, image_token: str, special_tokens: Mapping[str, object] | None = None) -> None:
        """
        Args:
            template: Jinja source in the dialect of ``transformers``.
            image_token: the placeholder's spelling in the vocabulary, ``<image>`` for LLaVA.
            special_tokens: what the template may call by name, such as ``{"bos_token": "<s>"}``; the
                values of a ``special_tokens_map.json`` are legal in both of their forms, others are ignored.

        Raises:
            PromptError: the template does not compile, or `image_token` is empty.
        """
        if not image_token:
            raise PromptError("the image token is empty; give its spelling in the tokenizer, such as <image>")
        if len(template) > MAX_TEMPLATE_CHARACTERS:
            raise PromptError(f"the chat template has {len(template)} characters; at most {MAX_TEMPLATE_CHARACTERS}")
        self.image_token = image_token
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

    def render(self, prompt: str, *, images: int = 0) -> str:
        """One user turn and the cue for the assistant to answer.

        Args:
            prompt: the user's text. If it holds the image token, as often as there are images, these go exactly
                there; otherwise before the text, where the template puts them.
            images: how many images come with the prompt.

        Returns:
            The text to tokenize. It holds the image token once for each image.

        Raises:
            PromptError: an empty or overlong prompt, more or fewer image tokens than images, or a template that
                fails or loses an image.
        """
        if not prompt.strip():
            raise PromptError("the prompt is empty; ask something")
        if len(prompt) > MAX_PROMPT_CHARACTERS:
            raise PromptError(f"the prompt has {len(prompt)} characters; at most {MAX_PROMPT_CHARACTERS}")
        placed = prompt.count(self.image_token)
        if placed and not images:
            raise PromptError(f"the prompt holds {self.image_token} but no image came with it; give one, or remove it")
        if placed and placed != images:
            raise PromptError(
                f"the prompt holds {self.image_token} {placed} times, but {_count(images)} came with it; write it once "
                "for each, or not at all"
            )
        content = [{"type": "text", "text": prompt}]
        if not placed:
            content = [{"type": "image"}] * images + content
        rendered = self._rendered([{"role": "user", "content": content}])
        found = rendered.count(self.image_token)
        if found != images:
            raise PromptError(
                f"the chat template wrote {self.image_token} {found} times for {_count(images)}; "
                f"write {self.image_token} into the prompt, or use another template"
            )
        return rendered

    def _rendered(self, messages: list[dict[str, object]]) -> str:
        values = {
            **self._special_tokens,
            "messages": messages,
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


def _count(images: int) -> str:
    return "1 image" if images == 1 else f"{images} images"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
