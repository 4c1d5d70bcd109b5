"""Hostile prompts: characters of every kind, placeholders, template code, lengths, and what is no text at all."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import clasp_trt
from clasp_trt.bundle import Bundle
from clasp_trt.errors import ClaspError
from clasp_trt.tools.profile.workload import noise
from tests.attack import judging

PIECES = (
    *(
        "<image>",
        "<s>",
        "</s>",
        "<unk>",
        "<|im_end|>",
        "<|im_start|>",
        "<pad>",
        "USER:",
        "ASSISTANT:",
        "<0x0A>",
        "<0xFF>",
    ),
    *("{{ messages }}", "{% for x in y %}", "{# #}", "{{ 7 * 7 }}", "{{ ''.__class__ }}", "%s", "{0}", "$HOME", "\\n"),
    *("How many", " what colour ", "?", " ", "\n", "\t", "\r\n", "\0", "\x1b[2J", "\x7f", "\u202e", "\ufeff", "\ufffd"),
    *(
        "\u0301" * 20,
        "\U0001f9d1\u200d\U0001f680",
        "\u2028",
        "\ud800",
        "\udfff",
        "\ud83d\ude00",
        "ﷺ",
        "\U0010ffff",
        "é",
    ),
)
PLANES = ((0, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xD800, 0xE000), (0xE000, 0x10000), (0x10000, 0x110000))
NO_TEXT: tuple[Any, ...] = (None, 1, b"what", ["what"], {"text": "what"}, float("nan"))
REPEATED = 0.02
"""Share of the prompts that are asked twice: a pipeline that was attacked answers as before."""
PLAIN = "What is this?"


class Attack:
    """One pipeline that answers all of them, with a picture or without."""

    def __init__(self, material: Path) -> None:
        bundle = Bundle.open(material / "bundle")
        self._pipeline = clasp_trt.load(bundle.root, threads=1)
        self._seen = self._pipeline.encode(noise(bundle))
        self._right = self._ask(PLAIN, with_picture=True)

    def __call__(self, draw: random.Random) -> str | None:
        prompt = draw.choice(NO_TEXT) if draw.random() < 0.01 else text(draw)
        with_picture = draw.random() < 0.6
        category = text(draw)[:50] if draw.random() < 0.02 else None
        try:
            self._ask(prompt, with_picture=with_picture, category=category)
            if isinstance(prompt, str):
                self._pipeline.route(prompt)
        except ClaspError as error:
            if (wrong := judging.of_error(error)) is not None:
                return wrong
        if draw.random() < REPEATED and self._ask(PLAIN, with_picture=True) != self._right:
            return "a plain question is answered otherwise than at first"
        return None

    def _ask(self, prompt: Any, *, with_picture: bool, category: str | None = None) -> tuple[int, ...]:
        seen = self._seen if with_picture else None
        return self._pipeline.generate(seen, prompt, max_new_tokens=2, ignore_stop=True, category=category).token_ids


def text(draw: random.Random) -> str:
    """Pieces and characters, a few or a great many."""
    way = draw.random()
    if way < 0.003:
        return draw.choice((*PIECES, "a")) * draw.choice((10_000, 100_000, 1_100_000))
    if way < 0.4:
        return "".join(draw.choices(PIECES, k=draw.randrange(12)))
    if way < 0.8:
        low, high = draw.choice(PLANES)
        return "".join(chr(draw.randrange(low, high)) for _ in range(draw.choice((1, 5, 40, 200))))
    words = draw.choices(
        ("how", "many", "cats", "read", "the", "sign", "猫", "是", "什么", "кот", "؟"), k=draw.randrange(60)
    )
    return " ".join(words)
