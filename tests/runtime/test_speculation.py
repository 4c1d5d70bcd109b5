"""Several tokens a step: what is proposed decides how many come at once, and never which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError, PromptError
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.result import Result
from clasp_trt.runtime.sampling import Sampling
from clasp_trt.speculation import MOST
from tests.mistakes import says
from tests.oneslot import one_row
from tests.oracle import Oracle

QUESTION = "How many cups are there, how many cups?"
KINDS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "that goes on after stops": {"ignore_stop": True},
    "draws": {"sampling": Sampling(temperature=0.8, top_k=5, seed=3)},
    "flat draws": {"sampling": Sampling(temperature=3.0, seed=1), "ignore_stop": True},
    "penalties": {"sampling": Sampling(repetition_penalty=1.3, no_repeat_ngram_size=2)},
    "no early stop": {"sampling": Sampling(min_new_tokens=12)},
    "choices": {"choices": ["two cups and a spoon", "two cups", "ten"]},
    "an expression": {"regex": "(cups? ){1,6}[0-9]+"},
    "log-probabilities": {"logprobs": True, "ignore_stop": True},
}


@pytest.fixture(scope="module")
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built()


@pytest.fixture(scope="module")
def pipe(bundle: Bundle) -> Iterator[Pipeline]:
    with load(bundle.root, threads=1) as opened:
        yield opened


def same(found: Result, expected: Result) -> None:
    assert found.token_ids == expected.token_ids
    assert (found.text, found.finish_reason) == (expected.text, expected.finish_reason)
    assert len(found.tpot_ms) == len(found.token_ids) - 1
    # four layers in float32, of which each may lose a few of 24 bits to another order of summation
    np.testing.assert_allclose(found.logprobs, expected.logprobs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_the_same(
    pipe: Pipeline, photos: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a picture or none, however long: also where the answer, its room or its caches end within a run."""
    rng, together, gained = np.random.default_rng(7), KINDS[kind], 0
    for number, length in enumerate((1, 3, 9, 200)):
        picture, wishes = photos["coffee"] if number % 2 else None, {**together, "max_new_tokens": length}
        expected = pipe.generate(picture, QUESTION, **wishes)
        same(pipe.generate(picture, QUESTION, lookup=MOST, **wishes), expected)
        truth = [*expected.token_ids, *rng.integers(3, 300, MOST).tolist()]  # it goes on where the answer ends
        monkeypatch.setattr("clasp_trt.runtime.steps.Lookup", lambda prompt, most, at=truth: Oracle(at, len(at)))
        answer = pipe.stream(picture, QUESTION, lookup=MOST, **wishes)
        events = list(answer.events())
        monkeypatch.undo()
        same(answer.result, expected)
        assert tuple(event.token for event in events) == expected.token_ids
        assert [event.finish_reason is None for event in events] == [True] * (len(events) - 1) + [False]
        counted = answer.result.speculation
        assert counted is not None
        assert counted.tokens == len(events) - 1
        assert counted.steps == sum(span.name == "decode" for span in answer.result.spans)
        gained += counted.tokens - counted.steps
        assert counted.accepted <= counted.proposed
    assert gained > 3, "runs were accepted"


def test_a_stop_string_ends_within_a_run(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pipe.generate(None, QUESTION, max_new_tokens=24, ignore_stop=True)
    monkeypatch.setattr("clasp_trt.runtime.steps.Lookup", lambda prompt, most: Oracle(whole.token_ids, 1))
    for end in range(4, len(whole.text) - 3, 5):
        wishes: dict[str, Any] = {"max_new_tokens": 24, "stop": [whole.text[end : end + 3]]}
        same(pipe.generate(None, QUESTION, lookup=MOST, **wishes), pipe.generate(None, QUESTION, **wishes))


def test_repetitions_are_found(pipe: Pipeline) -> None:
    wishes: dict[str, Any] = {"max_new_tokens": 40, "regex": "(cup ){30}"}
    expected, answer = pipe.generate(None, QUESTION, **wishes), pipe.generate(None, QUESTION, **wishes, lookup=MOST)
    same(answer, expected)
    assert expected.speculation is None
    assert answer.speculation is not None
    assert answer.speculation.tokens_per_step > 3


def test_proposers_hear_what_was_right(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pipe.generate(None, QUESTION, max_new_tokens=24, ignore_stop=True)
    oracle = Oracle(whole.token_ids, 5)
    monkeypatch.setattr("clasp_trt.runtime.steps.Lookup", lambda prompt, most: oracle)
    found = pipe.generate(None, QUESTION, max_new_tokens=24, ignore_stop=True, lookup=MOST).speculation
    assert found is not None
    assert (sum(oracle.heard), len(oracle.heard)) == (found.accepted, found.steps)


def test_an_overflow_after_a_proposed_token_is_told(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row would stay in the caches, where a mask hides it and 0 times NaN is NaN."""
    two = pipe.generate(None, QUESTION, max_new_tokens=2, ignore_stop=True).text
    steps = pipe._steps
    step, wrong = steps.decoder.step, Oracle([1] * 30, 0)
    monkeypatch.setattr(wrong, "propose", lambda ids, most: [4, 5])
    monkeypatch.setattr("clasp_trt.runtime.steps.Lookup", lambda prompt, most: wrong)

    def spoiled(tokens: Any) -> Any:
        scores = step(tokens)
        logits = steps.backend.download(scores.logits)
        logits[:, 2] = np.nan
        return scores._replace(logits=steps.backend.upload(logits))

    monkeypatch.setattr(steps.decoder, "step", spoiled)
    with pytest.raises(BackendError) as error:
        pipe.generate(None, QUESTION, max_new_tokens=9, ignore_stop=True, lookup=2)
    says(error, "overflowed", "2 proposed")
    # an answer that is whole by then is none the worse, but its slot is emptied
    assert pipe.generate(None, QUESTION, max_new_tokens=9, stop=[two], lookup=2).finish_reason == "stop"
    assert steps.decoder.slots._soiled == {0}


@pytest.mark.parametrize("lookup", [-1, MOST + 1, 2.0, True, "3"])
def test_what_is_no_number_of_tokens_is_refused(pipe: Pipeline, lookup: Any) -> None:
    with pytest.raises(PromptError) as error:
        pipe.generate(None, QUESTION, lookup=lookup)
    says(error, "lookup", repr(lookup), MOST)


def test_bundles_from_before_answer_without(bundle: Bundle, pipe: Pipeline, tmp_path: Path) -> None:
    """Their graphs give the logits of the last row."""
    root = one_row(bundle.root, tmp_path / "old")
    with load(root, threads=1) as old:
        same(old.generate(None, QUESTION, max_new_tokens=9), pipe.generate(None, QUESTION, max_new_tokens=9))
        with pytest.raises(PromptError) as error:
            old.generate(None, QUESTION, lookup=1)
    says(error, 1, root, "build it again")
