"""Templates, their words, and what stands around a question."""

from __future__ import annotations

import random

import pytest

from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.tools.routers.phrases import ASSETS, Phrases, invented, plural, with_article, wordings
from clasp_trt.tools.routers.prompts import HELD_OUT, TRAIN, part_of
from clasp_trt.tools.routers.styles import dress, is_chinese

PHRASES = Phrases.load()
SMALL = Phrases(
    {"one": ("is there {a noun}", "two (big|small) {nouns}", "{moods}")},
    {"noun": ("{animal}",), "animal": ("owl",), "moods": ("glad",)},
    {},
)


def test_the_categories_are_the_papers_in_its_order() -> None:
    assert tuple(PHRASES.templates) == CATEGORY_NAMES


@pytest.mark.parametrize("name", CATEGORY_NAMES)
def test_every_category_has_many_templates_in_both_languages(name: str) -> None:
    lines = PHRASES.templates[name]
    assert len(lines) == len(set(lines))
    assert sum(not is_chinese(line) for line in lines) >= 120
    assert sum(is_chinese(line) for line in lines) >= 25


KINDS = {
    "a thing named by its place": 80,
    "a thing named by what is done with it": 50,
    "the place is asked": 15,
    "the action is asked": 15,
    "torn between two": 15,
}
"""With the least number of held-out templates: what the figure of a category would hide."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_held_out_in_both_languages(kind: str) -> None:
    held_out = [line for line, its in PHRASES.kinds.items() if its == kind and part_of(line) == HELD_OUT]
    assert len(held_out) >= KINDS[kind]
    assert sum(map(is_chinese, held_out)) >= 0.1 * len(held_out)
    assert any(part_of(line) == TRAIN for line, its in PHRASES.kinds.items() if its == kind)


def test_a_kind_is_of_templates_of_one_category() -> None:
    assert set(PHRASES.kinds.values()) == set(KINDS)
    for kind in KINDS:
        lines = {line for line, its in PHRASES.kinds.items() if its == kind}
        assert sum(not lines.isdisjoint(own) for own in PHRASES.templates.values()) == 1


def test_no_template_belongs_to_two_categories() -> None:
    every = [line for kind in (PHRASES.templates, PHRASES.more) for lines in kind.values() for line in lines]
    assert len(every) == len(set(every))


def test_every_template_can_be_filled() -> None:
    rng = random.Random(0)
    for lines in (*PHRASES.templates.values(), *PHRASES.more.values()):
        for line in lines:
            text = PHRASES.fill(line, rng)
            assert text == text.strip()
            assert not set("{}") & set(text), line


def test_the_wordings_of_a_template_are_counted() -> None:
    assert wordings("how many {nouns}") == 1
    assert wordings("(what|which) (a|b|c) {noun}") == 6
    assert wordings("is it (a (b|c)|d)") >= 3


def test_slots_choices_articles_and_plurals() -> None:
    rng = random.Random(0)
    assert SMALL.fill("is there {a noun}", rng) == "is there an owl"
    assert {SMALL.fill("two (big|small) {nouns}", rng) for _ in range(20)} == {"two big owls", "two small owls"}
    assert SMALL.fill("{moods}", rng) == "glad"
    with pytest.raises(KeyError):
        SMALL.fill("{unknown}", rng)


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("dog", "dogs"),
        ("bus", "buses"),
        ("baby", "babies"),
        ("toy", "toys"),
        ("knife", "knives"),
        ("old man", "old men"),
        ("sheep", "sheep"),
        ("piece of furniture", "pieces of furniture"),
        ("man in the hat", "men in the hat"),
    ],
)
def test_plural(one: str, many: str) -> None:
    assert plural(one) == many


def test_article_and_invented_words() -> None:
    assert (with_article("egg"), with_article("cup")) == ("an egg", "a cup")
    rng = random.Random(0)
    assert all(4 <= len(invented(rng)) <= 12 for _ in range(100))


def test_dressing_keeps_the_question_and_varies() -> None:
    rng = random.Random(0)
    made = [dress("how many dogs are there", PHRASES, rng, lambda: "what is this") for _ in range(300)]
    assert len(set(made)) > 100
    assert sum("dogs" in text.lower() for text in made) > 250  # the others have a typo
    for mark in ("\nB", "<image>", "USER:", "Answer"):
        assert any(mark in text for text in made), mark


def test_the_files_are_small() -> None:
    files = [*ASSETS.glob("prompts/*.txt"), *ASSETS.glob("more/*.txt"), ASSETS / "slots.json", ASSETS / "styles.json"]
    assert sum(path.stat().st_size for path in files) < 1_000_000
