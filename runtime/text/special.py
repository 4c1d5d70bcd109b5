"""Special tokens that a text of the user's spells: refused, since the model would take them for the template's own."""

from __future__ import annotations

import re
from collections.abc import Mapping

from clasp_trt.errors import PromptError
from clasp_trt.runtime.text.messages import Dialogue
from clasp_trt.runtime.text.tokenizer import Tokenizer


def check_spelled(prompt: str | Dialogue, tokenizer: Tokenizer, tokens: Mapping[str, int]) -> None:
    """Raises :class:`PromptError` where a text spells a special token, or one of the ``tokens`` of visual rows.

    Parts of a message count as one text, which is what some templates make of them. The placeholders of pictures and
    clips, by which ``tokens`` are given, are none of these: they stand where one goes, and the template counts them.
    """
    places = re.compile("|".join(map(re.escape, tokens)))
    texts = {"the prompt": prompt} if isinstance(prompt, str) else _texts(prompt)
    for place, text in texts.items():
        for between in places.split(text):
            if (spelled := tokenizer.spells(between, *tokens.values())) is not None:
                raise PromptError(
                    f"{place} spells {spelled!a}, a special token of the model; leave it out, or write it otherwise"
                )


def _texts(asked: Dialogue) -> dict[str, str]:
    return {
        f"messages[{number}]": "".join(part["text"] for part in each["content"] if part["type"] == "text")
        for number, each in enumerate(asked.messages)
    }
