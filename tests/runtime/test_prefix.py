"""A prompt that begins like the one before starts after what both have before their first image: the same answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.methods import METHODS
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.result import Result
from tests.oneslot import one_slot

SYSTEM = "You are kind and brief, and you never say more than was asked."
COUNT, COLOUR = "How many cups are there?", "What colour is the cup?"
Built = Callable[..., Bundle]
Talk = list[dict[str, Any]]


def talk(question: str, *images: Path, system: str = SYSTEM) -> Talk:
    shown = [{"type": "image", "path": image} for image in images]
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": [*shown, {"type": "text", "text": question}]},
    ]


def same(found: Result, expected: Result) -> None:
    assert found.token_ids == expected.token_ids
    for mine, theirs in zip(found.kept, expected.kept, strict=True):
        np.testing.assert_array_equal(mine.indices, theirs.indices)
        np.testing.assert_array_equal(mine.is_pivot, theirs.is_pivot)


@pytest.fixture(params=["decoder", *(pytest.param(each, marks=pytest.mark.full) for each in ("encoder", "none"))])
def root(request: pytest.FixtureRequest, built: Built) -> Path:
    return built(
        prune_at=request.param, max_images=2, max_context=200, **({} if request.param == "none" else {"budget": "1/3"})
    ).root


@pytest.fixture
def pipe(root: Path) -> Iterator[Pipeline]:
    with load(root, threads=1) as pipeline:
        yield pipeline


@pytest.fixture
def plain(root: Path) -> Iterator[Pipeline]:
    """The same, which begins every prompt anew."""
    with load(root, threads=1, reuse_prompts=False) as pipeline:
        yield pipeline


def before_image(pipe: Pipeline, messages: Talk, picture: Path) -> int:
    from clasp_trt.runtime.text.messages import dialogue

    return len(pipe._steps.prompts.read(dialogue(messages), pipe.encode(picture).blocks).text_before)


def test_answers_are_the_same(pipe: Pipeline, plain: Pipeline, photos: dict[str, Path]) -> None:
    cup, cat = photos["coffee"], photos["chelsea"]
    first = talk(COUNT, cup)
    asked = [
        first,
        talk(COLOUR, cup),
        talk(COLOUR, cat),
        [*first, {"role": "assistant", "content": "One."}, {"role": "user", "content": COLOUR}],
        talk(COLOUR),
        talk(COUNT, cat, cup),
        talk(COUNT, cat, system="You are kind and brief."),
        talk(COUNT, cup),
    ]
    shared = before_image(pipe, first, cup)
    assert shared > 10
    reused = []
    for messages in asked:
        found = pipe.chat(messages, max_new_tokens=8)
        same(found, plain.chat(messages, max_new_tokens=8))
        reused.append(found.reused_tokens)
    assert reused[:4] == [0, shared, shared, shared]
    assert 0 < reused[4] <= shared
    assert reused[5] == reused[4]
    assert 0 < reused[6] < shared
    assert reused[7] == reused[6]


def test_text_alone_is_reused_but_for_its_last_token(pipe: Pipeline, plain: Pipeline) -> None:
    for reused in (False, True):
        found = pipe.generate(None, COUNT, max_new_tokens=8)
        same(found, plain.generate(None, COUNT, max_new_tokens=8))
        assert found.reused_tokens == (found.prompt_tokens - 1 if reused else 0)
    longer = pipe.generate(None, f"{COUNT} And why?", max_new_tokens=8)
    same(longer, plain.generate(None, f"{COUNT} And why?", max_new_tokens=8))
    assert 0 < longer.reused_tokens < longer.prompt_tokens


@pytest.mark.full
def test_other_methods_and_policies_begin_with_the_same_rows(built: Built, photos: dict[str, Path]) -> None:
    root = built(max_images=2, max_context=200, budget="1/3").root
    with load(root, threads=1) as pipe, load(root, threads=1, reuse_prompts=False) as plain:
        for name in METHODS:
            method = METHODS[name]
            found = pipe.variant(method=method).chat(talk(COUNT, photos["coffee"]), max_new_tokens=6)
            same(found, plain.variant(method=method).chat(talk(COUNT, photos["coffee"]), max_new_tokens=6))
            assert (found.reused_tokens > 10) == (name != next(iter(METHODS)))


def test_after_a_prompt_that_failed_midway(pipe: Pipeline, plain: Pipeline, photos: dict[str, Path]) -> None:
    pipe.chat(talk(COUNT, photos["coffee"]), max_new_tokens=2)
    decoder, calls = pipe._steps.decoder, list[int]()
    run = decoder._run

    def failing(*words: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return run(*words)

    decoder._run = failing  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        pipe.chat(talk(COUNT, photos["coffee"], system="You are another."), max_new_tokens=2)
    found = pipe.chat(talk(COUNT, photos["coffee"]), max_new_tokens=6)
    same(found, plain.chat(talk(COUNT, photos["coffee"]), max_new_tokens=6))
    assert found.reused_tokens == 0, "what was half there may hold anything"
    assert before_image(pipe, talk(COUNT, photos["coffee"]), photos["coffee"]) > 0


def test_what_was_cleared_is_not_reused(pipe: Pipeline) -> None:
    answer = pipe.stream(None, COUNT, max_new_tokens=2)
    next(answer.events())
    slots = pipe._steps.decoder.slots
    slots.leave(slots.live[0], spoiled=True)
    assert pipe.generate(None, COUNT, max_new_tokens=2).reused_tokens == 0


def test_graphs_from_before_slots_begin_anew(built: Built, tmp_path: Path) -> None:
    with load(one_slot(built().root, tmp_path / "old")) as old:
        found = [old.generate(None, COUNT, max_new_tokens=2) for _ in range(2)]
    assert [each.reused_tokens for each in found] == [0, 0]
    assert found[0].token_ids == found[1].token_ids
