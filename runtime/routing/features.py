"""A prompt as hashed features: what the learned router reads, in training and on the device alike.

The text is normalised and freed from what says nothing about its category (placeholders, earlier turns of a chat, the
options of a multiple choice, orders about the answer's form). What remains counts as word n-grams, pairs of words a
word apart, the frames of n-grams, in which only the ending is left of a word that is no function word, so that an
unknown word costs little, and the character n-grams of each word, so that a typo or an unknown form of a word costs
little. Chinese characters are words of their own. A name of any of these falls into one of ``buckets`` by CRC-32: there
is no vocabulary.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VERSION = 2
"""Of everything in this module that decides which buckets a prompt falls into: a model states what it was made with."""

MAX_CHARACTERS = 1000
"""Of a longer prompt the two ends are read: questions stand at one of them. This bounds the time."""

MAX_WORD = 24
"""Of a longer word the beginning gives character n-grams."""

MAX_FEATURES = 20 * MAX_CHARACTERS
"""No prompt has more: a word gives nine, and each of its characters three if it has two or more, so that no character
gives more than nine; normalised text is twice as long at most."""

ASIDE = 0.3
"""Weight of a sentence that asks nothing beside one that does."""

_WORD_WEIGHTS = {1: 3.0, 2: 1.5, 3: 1.0}  # of word n-grams, by n; these and the next are what did best on validation
_PAIR_WEIGHT = 1.0
_CHARACTER_WEIGHTS = {3: 2.0, 4: 2.0, 5: 2.0}
_FRAME_WEIGHTS = {2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0}  # of frames, by the number of words
START, END = "^", "$"

_FUNCTION_WORDS = frozenset(
    """
    a about above all an and any anyone anything are aren as at be been behind below between both but by can color
    colour could count describe did do does doesn each every for from front has have he her here him his how if
    image in into is isn it its kind left like list look looks many may me might more most much must my name near
    next no not nothing number of on one or other our out photo picture please re right same say see she should show
    shown so some someone something sort tell than that the their them there these they this those time to two type
    under up us was we were what when where which who whom whose why will with would you your
    """.split()  # noqa: SIM905 - words read better than a hundred quotes
)
"""And the nouns and verbs that questions about any picture have in common."""

_ENDINGS = ("ing", "ed", "est", "er", "ly", "s")
_HOLE = "*"

# Every gap is bounded, and none is repeated: the patterns are linear.
_ROLE = re.compile(r"(?:^|[\s>])(?:user|human|question|q|用户|问题|问)\s?:")
_ANSWER = re.compile(r"(?:^|[\s>])(?:assistant|answer|a|回答|答)\s?:[^\n]{0,400}$")
_IGNORED = tuple(
    re.compile(pattern)
    for pattern in (
        r"<[^<>\s]{1,30}>",  # <image>, <|im_end|>
        r"[\s(]a[.):][^\n]{1,300}?[\s(]b[.):][^\n]*",  # options in one line
        r"(?m)^\s{0,8}\(?[a-h][.):]\s?[^\n]*$",  # options line by line
        r"\b(?:hint|options|choices|context: n/a)\s?:?(?=\s|$)",
        r"(?:选项|提示)\s?:",
        r"(?:please )?(?:answer|respond|reply)(?: to)? "
        r"(?:the (?:question|following)|with|in|using|briefly|yes)[^.?!\n]{0,80}[.?!]?",
        r"when the provided information is insufficient[^.?!\n]{0,60}[.?!]?",
        r"(?:just |please )?(?:say|select|choose|pick|give)(?: me)? "
        r"(?:yes or no|one\b|the (?:correct|best|right) (?:answer|option|choice)|a short answer)[^.?!\n]{0,60}[.?!]?",
        r"(?:请|只需?)(?:直接|简短|简要)?(?:用|回答|从)[^。?!\n]{0,30}(?:回答|作答|选项|是或否|选择)?[。?!]?",
    )
)
_SENTENCE = re.compile(r"[^.?!。\n]*[.?!。\n]?")
_TOKEN = re.compile(r"[\u3400-\u9fff]|[^\W\d_\u3400-\u9fff]+|\d+|[^\w\s]")


@dataclass(frozen=True, eq=False)
class Features:
    """A prompt's features, each once.

    Attributes:
        ids: int64 ``[n]``, buckets; two features may share one.
        weights: float32 ``[n]``, of Euclidean length 1.
        labels: ``n`` pieces of the prompt, for people.
    """

    ids: NDArray[np.int64]
    weights: NDArray[np.float32]
    labels: tuple[str, ...]


def features(prompt: str, buckets: int) -> Features:
    """The features of any string at all, in ``buckets`` buckets; at least one, at most MAX_FEATURES."""
    found: dict[str, tuple[float, str]] = {}
    for words, weight in _sentences(clean(prompt)):
        for name, label, own in _named(words):
            if name not in found or found[name][0] < weight * own:
                found[name] = (weight * own, label)
    ids = [zlib.crc32(name.encode("utf-8", "replace")) % buckets for name in found]
    weights = np.array([weight for weight, _ in found.values()], dtype=np.float32)
    return Features(
        np.array(ids, dtype=np.int64),
        weights / np.float32(np.sqrt(np.sum(weights * weights))),
        tuple(label for _, label in found.values()),
    )


def clean(prompt: str) -> str:
    """What of a prompt is read: normalised, both ends of a long one, the last question of a chat, no answer formats."""
    if len(prompt) > MAX_CHARACTERS:
        prompt = f"{prompt[: MAX_CHARACTERS // 2]}\n{prompt[-MAX_CHARACTERS // 2 :]}"
    whole = unicodedata.normalize("NFKC", prompt).lower()[: 2 * MAX_CHARACTERS]  # one character may become eighteen
    text = whole
    for turn in _ROLE.finditer(whole):
        if whole[turn.end() :].strip():
            text = whole[turn.end() :]
    text = _ANSWER.sub("", text)
    for pattern in _IGNORED:
        text = pattern.sub("\n", text)
    return text if _TOKEN.search(text) else whole


def words_of(text: str) -> list[str]:
    """The tokens of a normalised text: words, single Chinese characters, single signs; any number is ``0``."""
    return ["0" if token[0].isdigit() else token for token in _TOKEN.findall(text)]


def _sentences(text: str) -> Iterator[tuple[list[str], float]]:
    """The words of each sentence, and its weight: where something is asked, the rest is an aside."""
    sentences = [sentence.strip() for sentence in _SENTENCE.findall(text) if _TOKEN.search(sentence)] or [text]
    asked = any(sentence.endswith("?") for sentence in sentences)
    for sentence in sentences:
        yield words_of(sentence.rstrip(".?!。")), ASIDE if asked and not sentence.endswith("?") else 1.0


def _named(words: list[str]) -> Iterator[tuple[str, str, float]]:
    """Name, label and weight of every feature of a sentence."""
    framed = [START, *words, END]
    for order, weight in _WORD_WEIGHTS.items():
        for start in range(len(framed) - order + 1):
            gram = " ".join(framed[start : start + order])
            yield f"w{gram}", gram, weight
    for first, second in zip(framed, framed[2:], strict=False):
        yield f"s{first} {second}", f"{first} … {second}", _PAIR_WEIGHT
    holes = [START, *map(_hole, words), END]
    for order, weight in _FRAME_WEIGHTS.items():
        for start in range(len(holes) - order + 1):
            frame = holes[start : start + order]
            if any(word.startswith(_HOLE) for word in frame):  # or else it is the n-gram itself
                yield f"h{' '.join(frame)}", " ".join(framed[start : start + order]), weight
    for word in words:
        if len(word) > 1:
            inside = f"{START}{word[:MAX_WORD]}{END}"
            for order, weight in _CHARACTER_WEIGHTS.items():
                for start in range(len(inside) - order + 1):
                    yield f"c{inside[start : start + order]}", word, weight


def _hole(word: str) -> str:
    """A function word, Chinese character, number or sign as it is; of any other word a hole and its ending."""
    if len(word) == 1 or word in _FUNCTION_WORDS:
        return word
    return _HOLE + next((ending for ending in _ENDINGS if word.endswith(ending) and len(word) > len(ending) + 2), "")
