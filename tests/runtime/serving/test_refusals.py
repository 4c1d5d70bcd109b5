"""What is wrong with a request is said in OpenAI's shape, with the field that it is about."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from clasp_trt.runtime.serving.problem import Problem
from clasp_trt.runtime.serving.settings import Settings
from clasp_trt.runtime.serving.wire import read
from tests.runtime.serving.conftest import NAME, body, said

Ask = Callable[..., httpx2.Response]
URL = "messages[0].content[0].image_url.url"
NO_PICTURE = "data:image/png;base64,aGVsbG8="


def error(response: httpx2.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    (found,) = response.json().values()
    assert set(found) == {"message", "type", "param", "code"}
    assert found["message"]
    return dict(found)


MALFORMED: list[tuple[Any, str | None]] = [
    ("", None),
    ("{", None),
    ("[]", None),
    ("null", None),
    (b"\xff\xfe", None),
    ("[" * 5000, None),
    ('{"model": NaN}', None),
    ({}, "model"),
    ({"model": NAME}, "messages"),
    (body(model=7), "model"),
    (body(messages=[]), "messages"),
    (body(messages="Hi"), "messages"),
    (body(messages=[{"content": "Hi"}]), "messages[0].role"),
    (body(messages=[{"role": "tool", "content": "Hi"}]), "messages[0].role"),
    (body(messages=[{"role": "user"}]), "messages[0].content"),
    (body(messages=[{"role": "user", "content": None}]), "messages[0].content"),
    (body(messages=[{"role": "user", "content": 7}]), "messages[0].content"),
    (body(messages=[{"role": "user", "content": []}]), "messages[0].content"),
    (body(messages=[{"role": "user", "content": "Hi", "mood": "good"}]), "messages[0].mood"),
    (body(messages=[{"role": "user", "content": [{"text": "Hi"}]}]), "messages[0].content[0].type"),
    (body(messages=[{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text"),
    (body(messages=[{"role": "user", "content": [{"type": "input_audio"}]}]), "messages[0].content[0].type"),
    (body(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "messages[0].content[0].image_url"),
    (
        body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
        URL,
    ),
    (body(max_tokens=0), "max_tokens"),
    (body(max_tokens="4"), "max_tokens"),
    (body(max_tokens=4.5), "max_tokens"),
    (body(max_tokens=True), "max_tokens"),
    (body(max_completion_tokens=-1), "max_completion_tokens"),
    (body(temperature=9), "temperature"),
    (body(temperature="hot"), "temperature"),
    (body(top_p=0), "top_p"),
    (body(top_k=-1), "top_k"),
    (body(seed="x"), "seed"),
    (body(n=2), "n"),
    (body(n=0), "n"),
    (body(stop=7), "stop"),
    (body(stop=["a"] * 17), "stop"),
    (body(stop=["a", 7]), "stop[1]"),
    (body(stream="yes"), "stream"),
    (body(stream_options={"include_usage": True}), "stream_options"),
    (body(stream=True, stream_options={"include": True}), "stream_options.include"),
    (body(logprobs=1), "logprobs"),
    (body(top_logprobs=3), "top_logprobs"),
    (body(logprobs=True, top_logprobs=21), "top_logprobs"),
    (body(presence_penalty=3), "presence_penalty"),
    (body(response_format={"type": "xml"}), "response_format.type"),
    (body(response_format={"type": "json_schema"}), "response_format.json_schema"),
    (body(tools=[{"type": "function"}]), "tools"),
    (body(tool_choice="required"), "tool_choice"),
    (body(logit_bias={"5": 1}), "logit_bias"),
    (body(modalities=["audio"]), "modalities[0]"),
    (body(store=True), "store"),
    (body(temprature=1), "temprature"),
    (body(clasp={"budgets": 3}), "clasp.budgets"),
    (body(clasp={"budget": "many"}), "clasp.budget"),
]


@pytest.mark.parametrize(("given", "param"), MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_body_names_its_field(given: Any, param: str | None) -> None:
    sent = given if isinstance(given, bytes) else (given if isinstance(given, str) else json.dumps(given)).encode()
    with pytest.raises(Problem) as found:
        read(sent)
    told = found.value.body["error"]
    assert (found.value.status, told["type"], told["param"]) == (400, "invalid_request_error", param)
    assert "\n" not in str(told["message"])
    assert len(str(told["message"])) < 500


def test_nothing_is_a_wish_too() -> None:
    """Clients send what they do not ask for as null, or empty."""
    names = ("temperature", "top_p", "seed", "stop", "n", "stream", "stream_options", "logprobs", "tools")
    asked = read(json.dumps(body(**dict.fromkeys(names), logit_bias={}, user="u", metadata={"a": "b"})).encode())
    assert asked.temperature is None


REFUSED: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"model": "other"}, 404, "model", "model_not_found"),
    ({"clasp": {"budget": 99}}, 400, "clasp.budget", None),
    ({"clasp": {"category": "weather"}}, 400, "clasp.category", None),
    ({"clasp": {"method": "magic"}}, 400, "clasp.method", None),
    ({"clasp": {"regex": "("}}, 400, "clasp.regex", None),
    ({"clasp": {"regex": "a", "choices": ["b"]}}, 400, "clasp.choices", None),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "x"}}}},
     400, "response_format", None),
    ({"messages": said("word " * 200)}, 400, "messages", None),
    ({"messages": said("   ")}, 400, "messages", None),
    ({"messages": said("Hi <image> there")}, 400, "messages", None),
    ({"messages": [{"role": "assistant", "content": "Hi"}]}, 400, "messages", None),
    ({"messages": said("Hi", NO_PICTURE)}, 400, URL, "invalid_image"),
    ({"messages": said("Hi", "data:image/png;base64,%%%")}, 400, URL, "invalid_image"),
    ({"messages": said("Hi", "data:")}, 400, URL, "invalid_image"),
    ({"messages": said("Hi", "")}, 400, URL, "host_not_allowed"),
    ({"messages": said("Hi", "/etc/passwd")}, 400, URL, "host_not_allowed"),
    ({"messages": said("Hi", "file:///etc/passwd")}, 400, URL, "host_not_allowed"),
    ({"messages": said("Hi", "https://example.com/a.png")}, 400, URL, "host_not_allowed"),
    ({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "Hi"}, {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}]}]},
     400, "messages[0].content[1].video_url.url", "invalid_image"),
]  # fmt: skip


@pytest.mark.parametrize(("wished", "status", "param", "code"), REFUSED, ids=range(len(REFUSED)))
def test_what_the_engine_refuses(ask: Ask, wished: dict[str, Any], status: int, param: str, code: str | None) -> None:
    for stream in (False, True):  # a stream that never began has a status too
        found = error(ask({**body(), **wished, "stream": stream}), status)
        assert (found["param"], found["code"]) == (param, code)


def test_too_many_pictures(ask: Ask, picture: str) -> None:
    found = error(ask(body("Hi", picture, picture)), 400)
    assert found["param"] == "messages"


def test_special_tokens_in_a_text(ask: Ask) -> None:
    found = error(ask(body("Hi </s> there")), 400)
    assert "special token" in found["message"]


def test_bounds_of_a_picture(ask: Ask, picture: str) -> None:
    found = error(ask(body("Hi", picture), Settings(max_image_pixels=99)), 400)
    assert found["code"] == "invalid_image"
    found = error(ask(body("Hi", picture), Settings(max_image_bytes=99)), 413)
    assert found["code"] == "request_too_large"


def test_bounds_of_an_answer(ask: Ask) -> None:
    found = error(ask(body(max_tokens=9), Settings(max_tokens=8)), 400)
    assert found["param"] == "max_tokens"
    assert ask(body(max_tokens=8), Settings(max_tokens=8)).status_code == 200


def test_bounds_of_a_body(ask: Ask) -> None:
    """Whether or not it says how large it is."""
    large = json.dumps(body("a" * 2000)).encode()
    assert error(ask(large, Settings(max_body=1999)), 413)["code"] == "request_too_large"

    async def pieces() -> Any:
        for at in range(0, len(large), 100):
            yield large[at : at + 100]

    assert error(ask(pieces(), Settings(max_body=1999)), 413)["code"] == "request_too_large"
