"""Phrases with holes: the project's own prompts as templates and the words that fill them, all of it data.

A template is a line such as ``what (color|shade) is the {noun}``: one of the words in round brackets is taken, and a
slot in braces is filled with one of its words. ``{a noun}`` adds the article, ``{nouns}`` is the plural unless a slot
has that name, and a filling may have slots of its own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clasp_trt.errors import RouterError
from clasp_trt.storage.fields import Field, Format, load

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "router"

ASSET = Format(RouterError, RouterError, "install clasp-trt again")
"""How the package's own JSON is read."""

_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(an? )?([^{}]+)\}")
_HEADER, _KIND = "category: ", "kind: "


@dataclass(frozen=True)
class Phrases:
    """Everything prompts are made of.

    Attributes:
        templates: per category, in the order of the policy, Default last.
        slots: the words that fill a hole.
        styles: what stands around a question: orders about the answer, greetings, context.
        more: templates to train on only, by category. They were written after the others had been divided into
            parts, with the errors on training and validation phrasings in view.
        kinds: what those templates are that a category's figure would hide, such as contrasts: template to kind.
    """

    templates: Mapping[str, Sequence[str]]
    slots: Mapping[str, Sequence[str]]
    styles: Mapping[str, Sequence[str]]
    more: Mapping[str, Sequence[str]] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def load(folder: Path = ASSETS) -> Phrases:
        """Those that come with the package: ``prompts/*.txt`` and ``more/*.txt`` in the order of their names."""
        templates, more = (_by_category(folder / name) for name in ("prompts", "more"))
        slots, styles = (_words(load(folder / name, ASSET)) for name in ("slots.json", "styles.json"))
        kinds = {
            line: kind for _, kind, lines in map(_read, sorted(folder.glob("prompts/*.txt"))) if kind for line in lines
        }
        return Phrases(templates, slots, styles, more, kinds)

    def fill(self, template: str, rng: random.Random) -> str:
        """One of the sentences that a template stands for."""
        while choice := _CHOICE.search(template):
            template = template[: choice.start()] + rng.choice(choice[1].split("|")) + template[choice.end() :]
        while slot := _SLOT.search(template):
            word = self._word(slot[2], rng)
            if slot[1]:
                word = with_article(self.fill(word, rng))
            template = template[: slot.start()] + word + template[slot.end() :]
        return " ".join(template.split())

    def _word(self, slot: str, rng: random.Random) -> str:
        if slot == "invented":
            return invented(rng)
        if slot in self.slots:
            return rng.choice(self.slots[slot])
        return plural(self.fill(rng.choice(self.slots[slot.removesuffix("s")]), rng))


def wordings(template: str) -> int:
    """About how many phrasings the choices of a template stand for, whatever fills its slots."""
    count = 1
    while choice := _CHOICE.search(template):
        count *= 1 + choice[1].count("|")
        template = template.replace(choice[0], "")
    return count


def with_article(word: str) -> str:
    """``word`` after "a" or "an", by its first letter."""
    return f"{'an' if word[0] in 'aeiouAEIOU' else 'a'} {word}"


def plural(word: str) -> str:
    """The plural of an English noun, as a rule has it; good enough for a prompt."""
    first, *rest = word.split(" ", 1) if re.match(r"\w+ (?:of|in|on) ", word) else (word,)
    irregular = {"man": "men", "woman": "women", "child": "children", "person": "people", "mouse": "mice"}
    last = first.split(" ")[-1]
    if last in irregular:
        first = first.removesuffix(last) + irregular[last]
    elif last in ("fish", "sheep", "deer"):
        pass
    elif re.search(r"(?:s|x|z|ch|sh)$", first):
        first += "es"
    elif re.search(r"[^aeiou]y$", first):
        first = first[:-1] + "ies"
    elif re.search(r"(?:lea|shel|kni|wol|loa)fe?$", first):
        first = re.sub(r"fe?$", "ves", first)
    else:
        first += "s"
    return " ".join([first, *rest])


def invented(rng: random.Random) -> str:
    """A word that nobody knows: what a thing is called must not matter, and this keeps it from mattering."""
    return "".join(
        rng.choice("bcdfghklmnprstvwz") + rng.choice("aeiou") + rng.choice(["", "", "n", "r", "l", "st"])
        for _ in range(rng.randint(2, 3))
    )


def _words(document: Field) -> dict[str, tuple[str, ...]]:
    # an empty one stands for nothing in its place
    return {name: tuple(word.string() for word in words.elements()) for name, words in document.members().items()}


def _by_category(folder: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.glob("*.txt")):
        category, _, lines = _read(path)
        found[category] = (*found.get(category, ()), *lines)
    return found


def _read(path: Path) -> tuple[str, str | None, tuple[str, ...]]:
    """Category, kind and templates of a file; a line that begins with ``#`` is a comment."""
    header, second, *lines = path.read_text("utf-8").splitlines()
    kind = second.removeprefix(_KIND) if second.startswith(_KIND) else None
    lines = lines if kind else [second, *lines]
    return header.removeprefix(_HEADER), kind, tuple(line for line in lines if line and not line.startswith("#"))
