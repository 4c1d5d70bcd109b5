"""Answers over HTTP are those of the engine, in the shape that OpenAI's own client expects."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from PIL import Image

from clasp_trt.runtime.engine import Engine
from clasp_trt.runtime.sampling import Sampling
from tests.runtime.serving.conftest import NAME, body, data_url

Ask = Callable[..., httpx2.Response]
QUESTION = "How many cups?"


def completion(response: httpx2.Response) -> ChatCompletion:
    assert response.status_code == 200, response.text
    return ChatCompletion.model_validate(response.json(), strict=True)


def chunks(response: httpx2.Response) -> list[ChatCompletionChunk]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *lines, done, end = response.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [ChatCompletionChunk.model_validate_json(line.removeprefix("data: "), strict=True) for line in lines]


def test_an_answer_is_that_of_the_engine(ask: Ask, engine: Engine, picture: str, photos: dict[str, Path]) -> None:
    expected = engine.submit(photos["coffee"], QUESTION, max_new_tokens=8).result
    found = completion(ask(body(QUESTION, picture, max_tokens=8)))
    assert found.model == NAME
    (choice,) = found.choices
    assert choice.message.content == expected.text
    assert choice.finish_reason == expected.finish_reason
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (
        expected.prompt_tokens,
        len(expected.token_ids),
    )
    extras: Any = found.clasp  # type: ignore[attr-defined]
    assert extras["category"] == expected.category
    assert [stage["tokens"] for stage in extras["kept"]] == [len(stage.indices) for stage in expected.kept]
    assert "indices" not in extras["kept"][0]
    assert extras["timings_ms"]["ttft"] > 0


def test_a_stream_says_the_same(ask: Ask, picture: str) -> None:
    wished = {"max_tokens": 8, "seed": 3, "temperature": 1.5}
    whole = completion(ask(body(QUESTION, picture, **wished)))
    found = chunks(ask(body(QUESTION, picture, **wished, stream=True, stream_options={"include_usage": True})))
    *pieces, used = found
    assert "".join(chunk.choices[0].delta.content or "" for chunk in pieces) == whole.choices[0].message.content
    assert pieces[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in pieces][-2:] == [None, whole.choices[0].finish_reason]
    assert used.choices == []
    assert used.usage is not None
    assert whole.usage is not None
    assert used.usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in found}) == 1
    without = chunks(ask(body(QUESTION, picture, **wished, stream=True)))
    assert all(chunk.usage is None for chunk in without)


def test_wishes_reach_the_engine(ask: Ask, engine: Engine) -> None:
    draws = Sampling(temperature=1.7, top_p=0.9, top_k=30, min_p=0.01, repetition_penalty=1.2, min_new_tokens=3, seed=5)
    expected = engine.submit(
        None, QUESTION, sampling=draws, max_new_tokens=12, ignore_stop=True, category="counting", method="none"
    ).result
    wished = {
        "temperature": 1.7, "top_p": 0.9, "top_k": 30, "min_p": 0.01, "repetition_penalty": 1.2, "min_tokens": 3,
        "seed": 5, "max_completion_tokens": 12, "ignore_eos": True, "clasp": {"category": "counting", "method": "none"},
    }  # fmt: skip
    found = completion(ask({**body(QUESTION), **wished, "max_tokens": None}))
    assert found.choices[0].message.content == expected.text
    extras: Any = found.clasp  # type: ignore[attr-defined]
    assert (extras["category"], extras["method"]) == ("counting", "none")


@pytest.mark.parametrize(
    ("wished", "draws"),
    [
        ({"top_p": 1}, None),
        ({"top_p": 1, "top_k": 0, "min_p": 0}, None),
        ({"top_p": 0.5}, 1.0),
        ({"top_k": 5, "temperature": 0}, 0),
        ({"temperature": 0.3}, 0.3),
    ],
)
def test_who_says_how_to_draw_draws(ask: Ask, engine: Engine, wished: dict[str, Any], draws: float | None) -> None:
    """And what is off asks for nothing."""
    own = {name: value for name, value in wished.items() if name != "temperature" and draws is not None}
    sampling = Sampling(temperature=draws, seed=7, **own)
    expected = engine.submit(None, QUESTION, sampling=sampling, max_new_tokens=9).result
    found = completion(ask(body(QUESTION, max_tokens=9, seed=7, **wished)))
    assert found.choices[0].message.content == expected.text


def test_a_form_that_the_server_has_no_means_for(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clasp_trt.runtime.serving.wishes.find_spec", lambda name: None)
    found = ask(body(QUESTION, response_format={"type": "json_object"}))
    assert found.status_code == 400
    assert found.json()["error"]["param"] == "response_format"
    assert ask(body(QUESTION, clasp={"choices": ["a"]})).status_code == 200


def test_a_conversation_with_its_history(ask: Ask, engine: Engine, photos: dict[str, Path]) -> None:
    talk: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image", "image": photos["coffee"]}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "A cup."},
        {"role": "user", "content": QUESTION},
    ]
    expected = engine.submit_chat(talk, max_new_tokens=4).result
    url = {"type": "image_url", "image_url": {"url": data_url(photos["coffee"]), "detail": "high"}}
    sent = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [url, {"type": "text", "text": "What?"}], "name": "Ann"},
        # as the client's own object says it
        {"role": "assistant", "content": "A cup.", "refusal": None, "annotations": [], "tool_calls": None},
        {"role": "user", "content": QUESTION},
    ]  # fmt: skip
    found = completion(ask({"model": NAME, "messages": sent, "max_tokens": 4}))
    assert found.choices[0].message.content == expected.text
    assert found.usage is not None
    assert found.usage.prompt_tokens == expected.prompt_tokens


def test_stop_strings(ask: Ask, engine: Engine) -> None:
    long = {"max_tokens": 20, "ignore_eos": False, "seed": 1, "temperature": 1.0}
    text = completion(ask(body(QUESTION, **long))).choices[0].message.content
    assert text is not None
    letters = re.search("[a-zA-Z]{2}", text)
    assert letters is not None
    cut = letters[0]
    for stop in (cut, [cut, "never said"]):
        found = completion(ask(body(QUESTION, **long, stop=stop))).choices[0]
        assert found.message.content == text[: text.index(cut)]
        assert found.finish_reason == "stop"


def test_log_probabilities(ask: Ask, engine: Engine) -> None:
    expected = engine.submit(None, QUESTION, max_new_tokens=5, ignore_stop=True, logprobs=True).result
    wished = {"max_tokens": 5, "ignore_eos": True, "logprobs": True}
    told = completion(ask(body(QUESTION, **wished))).choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert [each.logprob for each in told.content] == pytest.approx(expected.logprobs)
    assert [each.bytes for each in told.content] == [list(engine.spelling(id)) for id in expected.token_ids]
    pieces = chunks(ask(body(QUESTION, **wished, stream=True)))
    told_apart = [chunk.choices[0].logprobs for chunk in pieces]
    streamed = [each for logprobs in told_apart if logprobs is not None for each in logprobs.content or ()]
    assert [each.token for each in streamed] == [each.token for each in told.content]


@pytest.mark.parametrize(
    ("wished", "holds"),
    [
        ({"response_format": {"type": "json_object"}}, lambda text: isinstance(json.loads(text), dict)),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": ["a", "b"]}}}},
            lambda text: json.loads(text) in ("a", "b"),
        ),
        ({"response_format": {"type": "text"}}, lambda text: True),
        ({"clasp": {"choices": ["red", "blue"]}}, lambda text: text in ("red", "blue")),
        ({"clasp": {"regex": "[0-9]{2}"}}, lambda text: len(text) == 2 and text.isdigit()),
    ],
    ids=["object", "schema", "text", "choices", "regex"],
)
def test_the_form_of_an_answer(ask: Ask, wished: dict[str, Any], holds: Callable[[str], bool]) -> None:
    """Only an answer that ends by itself has its form as a whole."""
    found = completion(ask(body(QUESTION, max_tokens=40, seed=2, temperature=0.2, **wished))).choices[0]
    assert found.message.content is not None
    assert found.finish_reason == "length" or holds(found.message.content)


def test_the_likeliest_tokens(ask: Ask, engine: Engine) -> None:
    found = completion(ask(body(QUESTION, max_tokens=3, ignore_eos=True, logprobs=True, top_logprobs=4))).choices[0]
    assert found.logprobs is not None
    for each in found.logprobs.content or ():
        assert len(each.top_logprobs) == 4
        best = each.top_logprobs[0]
        assert (best.token, best.logprob) == (each.token, each.logprob), "the answer is greedy"
        assert sorted((one.logprob for one in each.top_logprobs), reverse=True) == [
            one.logprob for one in each.top_logprobs
        ]


def test_penalties_of_the_answer(ask: Ask, engine: Engine) -> None:
    wished = {"max_tokens": 30, "ignore_eos": True, "logprobs": True, "temperature": 0}
    free, bound = (
        completion(ask(body(QUESTION, **wished, frequency_penalty=penalty, presence_penalty=penalty)))
        for penalty in (0, 2)
    )
    tokens = [
        [each.token for each in (found.choices[0].logprobs and found.choices[0].logprobs.content) or ()]
        for found in (free, bound)
    ]
    assert len(set(tokens[1])) > len(set(tokens[0]))


def test_a_drawing_on_demand(ask: Ask, picture: str) -> None:
    found = ask(body(QUESTION, picture, max_tokens=2, clasp={"picture": True})).json()["clasp"]
    head, _, data = found["picture"].partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as drawn:
        assert drawn.width > drawn.height > 100
    assert "picture" not in ask(body(QUESTION, picture, max_tokens=2)).json()["clasp"]


def test_indices_on_demand(ask: Ask, engine: Engine, picture: str, photos: dict[str, Path]) -> None:
    expected = engine.submit(photos["coffee"], QUESTION, max_new_tokens=2).result
    found = ask(body(QUESTION, picture, max_tokens=2, clasp={"indices": True})).json()["clasp"]
    assert [stage["indices"] for stage in found["kept"]] == [stage.indices.tolist() for stage in expected.kept]
    assert [stage["is_pivot"] for stage in found["kept"]] == [stage.is_pivot.tolist() for stage in expected.kept]
