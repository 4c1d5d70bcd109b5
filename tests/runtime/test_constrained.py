"""Answers of a given form, from a whole model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import PromptError
from clasp_trt.generation import Generation
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.sampling import Sampling
from tests.mistakes import says

QUESTION = "How many cups are there?"


@pytest.fixture(scope="module")
def pipe(built: Callable[..., Bundle]) -> Pipeline:
    return load(built().root, threads=1)


@pytest.mark.parametrize("sampling", [None, Sampling(temperature=5.0, seed=0), Sampling(repetition_penalty=2.0)])
def test_an_answer_is_one_of_the_choices(pipe: Pipeline, photos: dict[str, Path], sampling: Sampling | None) -> None:
    choices = ["two cups", "no cup", "ten", "ten cups"]
    answer = pipe.stream(photos["coffee"], QUESTION, choices=choices, sampling=sampling)
    assert "".join(answer) == answer.result.text
    assert answer.result.text in choices
    assert answer.result.finish_reason == "stop"


@pytest.mark.parametrize("sampling", [None, Sampling(temperature=5.0, seed=0)])
def test_answers_that_an_expression_or_a_schema_describes(pipe: Pipeline, sampling: Sampling | None) -> None:
    found = pipe.generate(None, QUESTION, regex="[0-9]{1,2} cups?", sampling=sampling)
    assert re.fullmatch("[0-9]{1,2} cups?", found.text)
    schema = {
        "type": "object",
        "properties": {"n": {"enum": [1, 22]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    assert json.loads(pipe.generate(None, QUESTION, json_schema=schema, sampling=sampling).text)["n"] in (1, 22)


def test_an_answer_that_is_cut_says_so(pipe: Pipeline) -> None:
    found = pipe.generate(None, QUESTION, regex="[0-9]{20}", max_new_tokens=3)
    assert found.finish_reason == "length"
    assert len(found.token_ids) == 3


@pytest.mark.parametrize(
    ("asked", "facts"),
    [
        ({"choices": ["a"], "regex": "b"}, ("choices", "regex")),
        ({"choices": []}, ("choices",)),
        ({"choices": "yes"}, ("choices", "'yes'")),
        ({"choices": ["a"], "ignore_stop": True}, ("ignore_stop",)),
        ({"stop": "word"}, ("stop", "'word'")),
        ({"stop": [""]}, ("stop",)),
        ({"stop": ["\ud800"]}, ("stop",)),
        ({"stop": [3]}, ("stop",)),
    ],
)
def test_what_cannot_be_asked_for(pipe: Pipeline, asked: dict[str, Any], facts: tuple[str, ...]) -> None:
    with pytest.raises(PromptError) as error:
        pipe.stream(None, QUESTION, **asked)
    says(error, *facts)


def test_settings_that_leave_nothing_to_choose(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = pipe._steps.prompts.tokenizer.encode("yes", add_special_tokens=False)
    monkeypatch.setitem(vars(pipe.bundle), "generation", Generation(suppress_tokens=(ids[0],)))
    with pytest.raises(PromptError) as error:
        pipe.generate(None, QUESTION, choices=["yes"])
    says(error, "suppress_tokens")


def test_a_forced_end_does_not_break_a_form(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(pipe.bundle), "generation", Generation(forced_eos_token_ids=(2,)))
    found = pipe.generate(None, QUESTION, choices=["two cups of coffee"], max_new_tokens=2)
    assert found.finish_reason == "length"
