"""Labelled prompts from the project's own phrases, in three parts that share no phrasing.

A template belongs to one part for good, by its hash: to add one moves no other. Training prompts that a filling made
equal to one of the other parts are left out, so that the parts share no text either. Those templates that are only
for training change no other part, and give no prompt with the frame of one there.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clasp_trt.runtime.routing.features import words_of
from clasp_trt.tools.evaluate.scoring import normalise
from clasp_trt.tools.routers.frames import Frames
from clasp_trt.tools.routers.phrases import Phrases, wordings
from clasp_trt.tools.routers.styles import dress

TRAIN, VALIDATION, HELD_OUT = PARTS = ("train", "validation", "held out")
_KIND_SHARE = 0.25
_MOST_WORDINGS = 60  # prompts of a template that stands for that many phrasings or more
_HELD_OUT_BYTES, _VALIDATION_BYTES = 51, 77  # of 256: 20 % and the next 10 %


@dataclass(frozen=True)
class Labelled:
    """A prompt and its category; ``question`` is the prompt before it was dressed, ``source`` its template."""

    prompt: str
    category: str
    question: str
    source: str


def part_of(template: str) -> str:
    """The part that a template belongs to, by its SHA-256."""
    byte = hashlib.sha256(f"part of {template}".encode("utf-8", "replace")).digest()[0]
    return HELD_OUT if byte < _HELD_OUT_BYTES else VALIDATION if byte < _VALIDATION_BYTES else TRAIN


def generate(phrases: Phrases, *, per_category: dict[str, int], seed: int) -> dict[str, tuple[Labelled, ...]]:
    """Prompts of every part; ``per_category`` says about how many of each category, and 0 of a part skips it.

    The templates of a category get equally many, and those of a kind a quarter as many prompts in all as the category.
    Equal arguments give equal prompts.
    """
    parts: dict[str, tuple[Labelled, ...]] = {}
    frames, kept_out, kept_frames = Frames(phrases.slots), set[str](), set[str]()
    for part in (HELD_OUT, VALIDATION, TRAIN):
        made = []
        for item in _made(phrases, part, per_category.get(part, 0), seed):
            added = item.source in phrases.more.get(item.category, ())
            if _bare(item.question) in kept_out or (added and frames.of(item.question) in kept_frames):
                continue
            made.append(item)
        kept_out |= {_bare(item.question) for item in made}
        if part != TRAIN and phrases.more:
            kept_frames |= {frames.of(item.question) for item in made}
        parts[part] = tuple(made)
    return parts


def _made(phrases: Phrases, part: str, wanted: int, seed: int) -> Iterator[Labelled]:
    if not wanted:
        return
    own = {name: [t for t in lines if part_of(t) == part] for name, lines in phrases.templates.items()}
    plain = {name: [line for line in lines if line not in phrases.kinds] for name, lines in own.items()}
    counts = {name: dict.fromkeys(lines, _each(wanted, lines)) for name, lines in plain.items()}
    for name, lines in own.items():
        for kind in dict.fromkeys(phrases.kinds.values()):
            of_kind = [line for line in lines if phrases.kinds.get(line) == kind]
            counts[name] |= dict.fromkeys(of_kind, _each(_KIND_SHARE * wanted, of_kind))
    if part == TRAIN:
        for name, added in phrases.more.items():
            least = _each(wanted, plain[name])
            counts[name] |= {line: min(max(least, wordings(line)), max(least, _MOST_WORDINGS)) for line in added}
    every = [template for lines in counts.values() for template in lines]
    for name, times in counts.items():
        for template, count in times.items():
            rng = random.Random(f"{seed} {part} {template}")
            for _ in range(count):
                question = phrases.fill(template, rng)
                prompt = dress(question, phrases, rng, functools.partial(_another, phrases, every, rng))
                yield Labelled(prompt, name, question, template)


def _each(wanted: float, lines: Sequence[str]) -> int:
    return max(1, round(wanted / max(1, len(lines))))


def _another(phrases: Phrases, templates: Sequence[str], rng: random.Random) -> str:
    return phrases.fill(rng.choice(templates), rng)


def _bare(question: str) -> str:
    """A question without case, articles and signs."""
    return " ".join(words_of(normalise(question))) or question
