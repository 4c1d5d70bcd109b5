"""The parts share no phrasing and no text, and equal seeds give equal prompts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.runtime.routing.features import words_of
from clasp_trt.tools.evaluate.scoring import normalise
from clasp_trt.tools.routers.frames import Frames
from clasp_trt.tools.routers.labelled import Labelled
from clasp_trt.tools.routers.phrases import Phrases
from clasp_trt.tools.routers.prompts import HELD_OUT, PARTS, TRAIN, VALIDATION, generate, part_of

PHRASES = Phrases.load()
WANTED = {TRAIN: 600, VALIDATION: 200, HELD_OUT: 300}


@cache
def prompts() -> dict[str, tuple[Labelled, ...]]:
    return generate(PHRASES, per_category=WANTED, seed=1)


def test_parts_share_no_template() -> None:
    sources = {part: {item.source for item in prompts()[part]} for part in PARTS}
    assert not sources[TRAIN] & sources[HELD_OUT]
    assert not sources[TRAIN] & sources[VALIDATION]
    assert not sources[VALIDATION] & sources[HELD_OUT]
    every = sum(map(len, sources.values()))
    assert 0.17 < len(sources[HELD_OUT]) / every < 0.23
    assert 0.07 < len(sources[VALIDATION]) / every < 0.13


def test_parts_share_no_question_after_normalisation() -> None:
    def bare(part: str) -> set[str]:
        return {" ".join(words_of(normalise(item.question))) or item.question for item in prompts()[part]}

    assert not bare(TRAIN) & bare(HELD_OUT)
    assert not bare(TRAIN) & bare(VALIDATION)
    assert not bare(VALIDATION) & bare(HELD_OUT)


def test_every_part_has_every_category() -> None:
    for part, items in prompts().items():
        counts = Counter(item.category for item in items)
        assert set(counts) == set(CATEGORY_NAMES), part
        assert min(counts.values()) > WANTED[part] / 3


def test_a_seed_decides_everything() -> None:
    few = {TRAIN: 0, VALIDATION: 0, HELD_OUT: 100}
    again = generate(PHRASES, per_category=few, seed=1)[HELD_OUT]
    assert again == generate(PHRASES, per_category=few, seed=1)[HELD_OUT]
    assert again != generate(PHRASES, per_category=few, seed=2)[HELD_OUT]


def test_another_template_moves_no_prompt() -> None:
    few = {TRAIN: 0, VALIDATION: 0, HELD_OUT: 1}
    before = generate(PHRASES, per_category=few, seed=0)[HELD_OUT]
    more = Phrases({**PHRASES.templates, "counting": (*PHRASES.templates["counting"], "sum up the {nouns}")},
                   PHRASES.slots, PHRASES.styles)  # fmt: skip
    after = generate(more, per_category=few, seed=0)[HELD_OUT]
    assert {item.question for item in before} <= {item.question for item in after}


def test_templates_for_training_only_change_no_other_part() -> None:
    before = generate(replace(PHRASES, more={}), per_category=WANTED, seed=1)
    assert before[HELD_OUT] == prompts()[HELD_OUT]
    assert before[VALIDATION] == prompts()[VALIDATION]
    assert len(prompts()[TRAIN]) > len(before[TRAIN])


def test_templates_for_training_only_give_no_frame_of_another_part() -> None:
    frames = Frames(PHRASES.slots)
    others = {frames.of(item.question) for part in (HELD_OUT, VALIDATION) for item in prompts()[part]}
    added = [item for item in prompts()[TRAIN] if item.source in PHRASES.more[item.category]]
    assert len(added) > 1000
    assert not others & {frames.of(item.question) for item in added}


@given(st.text())
def test_any_text_has_a_part(text: str) -> None:
    assert part_of(text) in PARTS
