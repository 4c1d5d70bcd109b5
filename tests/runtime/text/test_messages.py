"""Messages in transformers' form become what a template takes; any other form is one line that names the place."""

from __future__ import annotations

from typing import Any

import pytest

from clasp_trt.errors import PromptError
from clasp_trt.runtime.text.messages import dialogue
from tests.mistakes import says


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


ASKED = user(text("Why?"))


def test_contents_become_parts_and_images_are_taken_out() -> None:
    pixels = object()
    given: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief.", "name": "x"},
        user({"type": "image", "image": pixels}, text("What is it?"), {"type": "image", "url": "https://a.b/c.png"}),
        {"role": "assistant", "content": [text("A cup.")]},
        user(
            {"type": "image", "path": "d.png", "url": None},
            {"type": "image", "base64": "abcd"},
            {"type": "image_url", "image_url": {"url": "data:,x", "detail": "low"}},
            text("And"),
            text("this?"),
        ),
    ]
    found = dialogue(given)
    assert found.messages == (
        {"role": "system", "content": [text("Be brief.")]},
        user({"type": "image"}, text("What is it?"), {"type": "image"}),
        {"role": "assistant", "content": [text("A cup.")]},
        user(*[{"type": "image"}] * 3, text("And"), text("this?")),
    )
    assert found.images == (pixels, "https://a.b/c.png", "d.png", "abcd", "data:,x")
    assert (found.asked, found.last_shows) == ("And\nthis?", True)
    assert not dialogue([given[1], given[2], ASKED]).last_shows
    assert given[1]["content"][0]["image"] is pixels, "what was given is left alone"


@pytest.mark.parametrize(
    ("messages", "facts"),
    [
        (None, ("messages", "null")),
        ([], ("messages", "an empty array")),
        ("hi", ("messages", "'hi'")),
        ({"role": "user", "content": "hi"}, ("messages", "an object")),
        (["hi"], ("messages[0]", "'role'", "'content'")),
        ([{"content": "hi"}], ("messages[0]", "role", "user")),
        ([{"role": "tool", "content": "hi"}], ("messages[0]", "'tool'", "system, user, assistant")),
        ([ASKED, {"role": "user"}], ("messages[1]", "content", "null")),
        ([{"role": "user", "content": 3}], ("messages[0]", "content", 3)),
        ([{"role": "user", "content": {"type": "text"}}], ("messages[0]", "an object")),
        ([user("hi")], ("messages[0].content[0]", "'hi'", "type")),
        ([user({"type": "audio"})], ("messages[0].content[0]", "'text', 'image' or 'video'")),
        ([user({"type": "text"})], ("messages[0].content[0]", "text", "null")),
        ([user({"type": "text", "text": ["a"]})], ("messages[0].content[0]", "string")),
        ([user({"type": "image"}, text("a"))], ("messages[0].content[0]", "image, url, path, base64", "none")),
        ([user({"type": "image", "url": "a", "path": "b"})], ("messages[0].content[0]", "url", "path")),
        ([user({"type": "image_url", "image_url": {}})], ("messages[0].content[0]", "image_url")),
        ([ASKED, {"role": "assistant", "content": "Because."}], ("last", "'assistant'", "'user'")),
        ([user({"type": "image", "path": "a.png"})], ("last", "text")),
        ([user(text(" "), text("\n"))], ("last", "text")),
    ],
)
def test_a_wrong_form_is_one_line(messages: Any, facts: tuple[object, ...]) -> None:
    with pytest.raises(PromptError) as refused:
        dialogue(messages)
    says(refused, *facts)
