"""A bare question dressed as people and benchmarks ask it: orders about the answer, options, context, haste, typos."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from clasp_trt.tools.routers.phrases import Phrases

_CHINESE = re.compile(r"[\u3400-\u9fff]")
_ASKS = re.compile(
    r"(?:what|which|who|whose|whom|where|when|why|how|is|are|was|were|do|does|did|has|have|can|could|will|would|should|any"
    r"|in (?:which|what)|on (?:which|what)|from left|at what|for what)\b"
)
_YES_NO = re.compile(r"(?:is|are|was|were|do|does|did|has|have|can|could|will|would|should)\b")
_TYPO_RATE, _MIN_TYPO_WORD = 0.12, 4

_KEYS = "abcdefghijklmnopqrstuvwxyz"
_OPTION_SLOTS = ("noun", "colour", "adjective", "place", "number", "doing", "material", "quote")
_OPTION_STYLES = ("\n{}. {}", "\n({}) {}", " {}. {}", " ({}) {}", "\n{}) {}")


def is_chinese(text: str) -> bool:
    return bool(_CHINESE.search(text))


def dress(question: str, phrases: Phrases, rng: random.Random, earlier: Callable[[], str]) -> str:
    """One way of asking ``question``, a filled template.

    ``earlier`` gives another question, which stands before this one in a chat.
    """
    return (_dress_chinese if is_chinese(question) else _dress_english)(question, phrases, rng, earlier)


def _dress_english(question: str, phrases: Phrases, rng: random.Random, earlier: Callable[[], str]) -> str:
    def style(name: str) -> str:
        return phrases.fill(rng.choice(phrases.styles[name]), rng)

    text = question
    if rng.random() < _TYPO_RATE:
        text = _mistype(text, rng)
    asks = bool(_ASKS.match(question))
    if rng.random() < 0.12:
        text = f"{style('opener')} {text}"
    if rng.random() < 0.1:
        text = f"{text} {style('closer')}"
    text = _punctuate(text, asks, rng)
    if rng.random() < 0.1:
        context = _capitalise(style("context"), rng)
        text = f"{context} {text}" if rng.random() < 0.75 else f"{text} {context}"
    kind = rng.random()
    if kind < 0.12:
        text += _options(phrases, rng) + "\n" + style("option")
        if rng.random() < 0.3:
            text = f"Question: {text}" if rng.random() < 0.5 else f"Hint: {style('context')}\nQuestion: {text}"
    elif kind < 0.3:
        name = "yes or no" if _YES_NO.match(question) and rng.random() < 0.7 else "short answer"
        text += rng.choice([" ", "\n"]) + style(name)
    text = _shout(text, rng)
    return _in_chat(text, earlier, lambda: style("reply"), rng)


def _dress_chinese(question: str, phrases: Phrases, rng: random.Random, earlier: Callable[[], str]) -> str:
    def style(name: str) -> str:
        return phrases.fill(rng.choice(phrases.styles[f"{name} zh"]), rng)

    text = question
    if rng.random() < 0.2:
        text = style("opener") + text
    if rng.random() < 0.1:
        text += style("closer")
    else:
        text += rng.choice(["？", "？", "?", "", "。"])
    if rng.random() < 0.1:
        text = style("context") + text
    if rng.random() < 0.15:
        text += rng.choice(["", "\n"]) + style("short answer")
    elif rng.random() < 0.12:
        text += _options(phrases, rng)
    return _in_chat(text, earlier, lambda: style("context"), rng)


def _punctuate(text: str, asks: bool, rng: random.Random) -> str:
    if rng.random() < 0.7:
        text = _capitalise(text, rng)
    return text + (rng.choice(["?", "?", "?", "?", "", "??"]) if asks else rng.choice([".", ".", "", "!", ""]))


def _capitalise(text: str, rng: random.Random) -> str:
    return text[:1].upper() + text[1:]


def _shout(text: str, rng: random.Random) -> str:
    return text.upper() if rng.random() < 0.03 else text


def _options(phrases: Phrases, rng: random.Random) -> str:
    pattern, slot = rng.choice(_OPTION_STYLES), rng.choice(_OPTION_SLOTS)
    letters = "ABCDE"[: rng.choice((2, 3, 4, 4, 4, 5))]
    return "".join(pattern.format(letter, phrases.fill(f"{{{slot}}}", rng)) for letter in letters)


def _in_chat(text: str, earlier: Callable[[], str], reply: Callable[[], str], rng: random.Random) -> str:
    """``text`` as a chat template hands it on: with an image's placeholder, or after another question."""
    draw = rng.random()
    if draw < 0.08:
        return f"<image>\n{text}"
    if draw < 0.12:
        return f"USER: <image>\n{earlier()}? ASSISTANT: {reply()} USER: {text} ASSISTANT:"
    return text


def _mistype(text: str, rng: random.Random) -> str:
    """One slip in one longer word: a letter lost, doubled, swapped with the next, or another one."""
    words = text.split(" ")
    places = [index for index, word in enumerate(words) if len(word) >= _MIN_TYPO_WORD and word.isalpha()]
    if not places:
        return text
    index = rng.choice(places)
    word = words[index]
    at = rng.randrange(len(word) - 1)
    words[index] = rng.choice(
        (
            word[:at] + word[at + 1 :],
            word[: at + 1] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + rng.choice(_KEYS) + word[at + 1 :],
        )
    )
    return " ".join(words)
