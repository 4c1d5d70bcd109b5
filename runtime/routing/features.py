"""A prompt as hashed features: what the learned router reads, in training and on the device alike.

The text is normalised and freed from what says nothing about its category (placeholders, earlier turns of a chat, the
options of a multiple choice, orders about the answer's form). What remains counts as word n-grams, pairs of words a
word apart, the frames of n-grams, in which only the ending is left of a word that is no function word, so that an
unknown word costs little, the word that asks with each other one, so that "what ... holding" and "where ... holding"
differ, and the character n-grams of each word, so that a typo or an unknown form of a word costs little. Chinese
characters are words of their own. A name of any of these falls into one of ``buckets`` by CRC-32: there is no
vocabulary.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import compress

import numpy as np
from numpy.typing import NDArray

VERSIONS = (2, 3)
"""Of everything in this module that decides which buckets a prompt falls into: a model states what it was made with."""

VERSION = VERSIONS[-1]
_HEADED = 3  # the first that pairs the word that asks with each other word

MAX_CHARACTERS = 1000
"""Of a longer prompt the two ends are read: questions stand at one of them. This bounds the time."""

MAX_WORD = 24
"""Of a longer word the beginning gives character n-grams."""

MAX_FEATURES = 22 * MAX_CHARACTERS
"""No prompt has more: a word gives eleven at most, and each of its characters three if it has two or more, so that no
character gives more than eleven; normalised text is twice as long at most."""

ASIDE = 0.3
"""Weight of a sentence that asks nothing beside one that does."""

_WORD_WEIGHTS = {1: 3.0, 2: 1.5, 3: 1.0}  # of word n-grams, by n; these and the next are what did best on validation
_PAIR_WEIGHT = 1.0
_CHARACTERS, _CHARACTER_WEIGHT = (3, 4, 5), 2.0
_FRAMES, _FRAME_WEIGHT = (2, 3, 4, 5), 1.0  # by the number of words
_HEAD_WEIGHT = 2.0
START, END = "^", "$"

_ASKING = frozenset(
    "what which who whom whose where when why how whats wheres whos 什 哪 谁 几 怎 何 啥 嘛 吗".split()  # noqa: SIM905
)
"""Question words; where there is none, the beginning stands for it."""

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
        prompt: what they are of.
        version: see :func:`features`.
    """

    ids: NDArray[np.int64]
    weights: NDArray[np.float32]
    prompt: str
    version: int

    @property
    def labels(self) -> tuple[str, ...]:
        """``n`` pieces of the prompt, for people; training does without."""
        found: dict[int, tuple[float, str]] = {}
        for words, sentence_weight in _sentences(clean(self.prompt)):
            for weight, codes, pieces in _named(words, self.version):
                for code, piece in zip(codes, pieces(), strict=True):
                    if code not in found or found[code][0] < weight * sentence_weight:
                        found[code] = weight * sentence_weight, piece
        return tuple(piece for _, piece in found.values())


def features(prompt: str, buckets: int, version: int = VERSION) -> Features:
    """The features of any string at all, in ``buckets`` buckets; at least one, at most MAX_FEATURES.

    ``version`` is one of VERSIONS: what a model was made with.
    """
    found: dict[int, float] = {}
    for words, sentence_weight in _sentences(clean(prompt)):
        for weight, codes, _ in _named(words, version):
            own = dict.fromkeys(codes, weight * sentence_weight)
            if not found.keys().isdisjoint(own):
                own = {code: max(value, found.get(code, 0.0)) for code, value in own.items()}
            found |= own
    weights = np.fromiter(found.values(), np.float32, len(found))
    ids = np.fromiter(found, np.int64, len(found)) % buckets
    return Features(ids, weights / np.float32(np.sqrt(np.sum(weights * weights))), prompt, version)


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


_Named = tuple[float, Sequence[int], Callable[[], Iterable[str]]]
"""Weight, names and labels of features; a name is the CRC-32 of a letter for its sort and its words."""


def _named(words: list[str], version: int) -> Iterator[_Named]:
    """The features of a sentence."""
    framed = [START, *words, END]
    grams = _chains(b"w", framed, max(_WORD_WEIGHTS))
    for order, weight in _WORD_WEIGHTS.items():
        yield weight, grams[order - 1], partial(_windows, framed, order)
    after = [f" {word}".encode("utf-8", "replace") for word in framed]
    first = _chains(b"s", framed, 1)[0]
    yield (
        _PAIR_WEIGHT,
        [zlib.crc32(second, code) for code, second in zip(first, after[2:], strict=False)],
        lambda: [f"{one} … {two}" for one, two in zip(framed, framed[2:], strict=False)],
    )
    holes = [START, *map(_hole, words), END]
    kept = [_near(holes, order) for order in _FRAMES]
    frames = _chains(b"h", holes, max(_FRAMES))
    yield (
        _FRAME_WEIGHT,
        [code for order, here in zip(_FRAMES, kept, strict=True) for code in compress(frames[order - 1], here)],
        lambda: [
            piece
            for order, here in zip(_FRAMES, kept, strict=True)
            for piece in compress(_windows(framed, order), here)
        ],
    )
    if version >= _HEADED:
        yield from _headed(words, holes[1:-1], after[1:-1])
    longer = [word for word in words if len(word) > 1]
    yield (
        _CHARACTER_WEIGHT,
        [code for word in longer for code in _characters(word)],
        lambda: [word for word in longer for _ in _characters(word)],
    )


def _near(holes: list[str], order: int) -> list[bool]:
    """Of each run of ``order`` words, whether one is a hole: or else the frame is the n-gram itself."""
    ours = [word[0] == _HOLE for word in holes]
    return [True in run for run in zip(*(ours[at:] for at in range(order)), strict=False)]


def _headed(words: list[str], holes: list[str], after: list[bytes]) -> Iterator[_Named]:
    """The word that asks with each other one: what is asked decides, not what stands beside it."""
    head = next((word for word in words if word in _ASKING), START)
    code = zlib.crc32(f"q{head}".encode())
    yield _HEAD_WEIGHT, [zlib.crc32(word, code) for word in after], lambda: [f"{head} … {word}" for word in words]
    open_ = [(hole, word) for hole, word in zip(holes, words, strict=True) if hole.startswith(_HOLE)]
    yield (
        _HEAD_WEIGHT,
        [zlib.crc32(f" {hole}".encode(), code) for hole, _ in open_],
        lambda: [f"{head} … {word}" for _, word in open_],
    )


def _chains(sort: bytes, words: list[str], longest: int) -> list[list[int]]:
    """The names of all runs of 1, 2, ... ``longest`` words: that of a run goes on from that of the run before."""
    after = [f" {word}".encode("utf-8", "replace") for word in words]
    chains = [[zlib.crc32(word[1:], zlib.crc32(sort)) for word in after]]
    for order in range(1, longest):
        chains.append([zlib.crc32(word, code) for code, word in zip(chains[-1], after[order:], strict=False)])
    return chains


def _windows(words: list[str], order: int) -> list[str]:
    return [" ".join(words[start : start + order]) for start in range(len(words) - order + 1)]


@lru_cache(maxsize=4096)
def _characters(word: str) -> tuple[int, ...]:
    """The names of a word's character n-grams; words come again and again."""
    inside = f"{START}{word[:MAX_WORD]}{END}"
    grams = (inside[at : at + order] for order in _CHARACTERS for at in range(len(inside) - order + 1))
    return tuple(zlib.crc32(f"c{gram}".encode("utf-8", "replace")) for gram in grams)


@lru_cache(maxsize=4096)
def _hole(word: str) -> str:
    """A function word, Chinese character, number or sign as it is; of any other word a hole and its ending."""
    if len(word) == 1 or word in _FUNCTION_WORDS:
        return word
    return _HOLE + next((ending for ending in _ENDINGS if word.endswith(ending) and len(word) > len(ending) + 2), "")
