"""An event a token, log-probabilities, and an end from outside: noticed before the next graph."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import PromptError
from clasp_trt.runtime.decoder import Scores
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.sampling import Sampling
from tests.mistakes import says

QUESTION, MANY = "How many cups are there?", 8


@pytest.fixture(scope="module")
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built()


@pytest.fixture(scope="module")
def pipe(bundle: Bundle) -> Pipeline:
    return load(bundle.root, threads=1)


@pytest.fixture(scope="module")
def cup(photos: dict[str, Path]) -> Path:
    return photos["coffee"]


def test_an_event_is_a_token_also_without_text(pipe: Pipeline, cup: Path) -> None:
    sampling = Sampling(temperature=1.5, seed=3)  # hot: broken bytes and unfinished characters
    answer = pipe.stream(cup, QUESTION, max_new_tokens=24, sampling=sampling)
    events = list(answer.events())
    result = answer.result
    assert tuple(event.token for event in events) == result.token_ids
    assert "".join(event.text for event in events) == result.text
    assert not all(event.text for event in events)
    assert [event.finish_reason for event in events] == [None] * 23 + ["length"]
    assert {event.logprob for event in events} == {None}
    assert result.logprobs == ()


def test_events_go_on_where_pieces_were_asked_for(pipe: Pipeline, cup: Path) -> None:
    answer = pipe.stream(cup, QUESTION, max_new_tokens=MANY)
    first = next(answer)
    assert first + "".join(event.text for event in answer.events()) == answer.result.text


@pytest.mark.parametrize("sampling", [None, Sampling(temperature=1.0, seed=0, top_k=4)])
def test_log_probabilities_are_by_the_logits_as_they_come(
    pipe: Pipeline, cup: Path, sampling: Sampling | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, rows = pipe._steps, list[Any]()
    chosen = steps._chosen

    def spy(drafts: Any, scores: Scores, places: Any) -> Any:
        rows.append(steps.backend.download(scores.logits).reshape(-1).astype(np.float64))
        return chosen(drafts, scores, places)

    monkeypatch.setattr(steps, "_chosen", spy)
    answer = pipe.stream(cup, QUESTION, max_new_tokens=MANY, sampling=sampling, logprobs=True)
    events = list(answer.events())
    assert answer.result.logprobs == tuple(event.logprob for event in events)
    shares = [np.exp(row) / np.exp(row).sum() for row in rows]
    expected = [np.log(share[id]) for share, id in zip(shares, answer.result.token_ids, strict=True)]
    np.testing.assert_allclose(answer.result.logprobs, expected, rtol=1e-12)


# --- an end from outside ------------------------------------------------------------------------------------


def test_no_step_begins_after_the_end(pipe: Pipeline, cup: Path) -> None:
    """Three steps after the prompt, whether or not their tokens have text."""
    ended: list[bool] = []
    whole = pipe.generate(cup, QUESTION, max_new_tokens=MANY, ignore_stop=True).token_ids
    answer = pipe.stream(cup, QUESTION, max_new_tokens=MANY, ignore_stop=True, cancelled=lambda: bool(ended))
    events = answer.events()
    seen = [next(events) for _ in range(4)]
    ended.append(True)
    last = list(events)
    assert [event.token for event in seen] == list(whole[:4])
    assert [(event.token, event.finish_reason) for event in last] == [(None, "cancelled")]
    assert (answer.result.finish_reason, answer.result.token_ids) == ("cancelled", whole[:4])
    assert "".join(event.text for event in (*seen, *last)) == answer.result.text
    assert len(answer.result.tpot_ms) == 3


def _after(most: int) -> Callable[[], bool]:
    """Ends an answer once it was asked so many times."""
    asked = count()
    return lambda: next(asked) >= most


def test_every_graph_of_a_prompt_may_be_the_last(pipe: Pipeline, cup: Path) -> None:
    """After each number of graphs the answer ends; afterwards the next is as ever."""
    expected = pipe.generate(cup, QUESTION, max_new_tokens=2, ignore_stop=True)
    graphs = [span.name for span in expected.spans if span.name not in ("route", "preprocess", "tokenize", "decode")]
    picture = pipe.encode(cup)
    assert {"segment_0", "prune_2", "segment_3"} < set(graphs)
    for most in range(len(graphs) - 1):  # a picture that is encoded needs one less: the vision graph
        found = pipe.generate(picture, QUESTION, max_new_tokens=2, ignore_stop=True, cancelled=_after(most))
        names = [span.name for span in found.spans if span.name in graphs]
        assert (found.finish_reason, found.token_ids, found.text, len(names)) == ("cancelled", (), "", most)
        assert "ttft" not in found.timings_ms
    assert pipe.generate(cup, QUESTION, max_new_tokens=2, ignore_stop=True).token_ids == expected.token_ids


def test_what_cannot_say_whether_to_end_is_refused(pipe: Pipeline) -> None:
    with pytest.raises(PromptError) as error:
        pipe.generate(None, QUESTION, cancelled=True)  # type: ignore[arg-type]
    says(error, "cancelled", True)
