"""Conversations: the last message is answered, routed and says what matters; what was finished is remembered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import ImageError, PromptError
from clasp_trt.runtime.conversation import Conversation
from clasp_trt.runtime.pipeline import Pipeline, load
from tests.mistakes import says

COUNT, COLOUR = "How many cups are there?", "What colour is the cup?"


@pytest.fixture(scope="module")
def pipe(built: Callable[..., Bundle]) -> Pipeline:
    return load(built(max_images=2, budget="1/3", max_context=160).root, threads=1)


def user(text: str, *images: Path) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [*({"type": "image", "path": each} for each in images), {"type": "text", "text": text}],
    }


def test_one_message_is_answered_as_a_prompt(pipe: Pipeline, photos: dict[str, Path]) -> None:
    found = pipe.chat([user(COUNT, photos["coffee"], photos["chelsea"])], max_new_tokens=6)
    expected = pipe.generate([photos["coffee"], photos["chelsea"]], COUNT, max_new_tokens=6)
    assert found.token_ids == expected.token_ids
    assert [stage.indices.tolist() for stage in found.kept] == [stage.indices.tolist() for stage in expected.kept]


def test_the_last_message_is_routed(pipe: Pipeline, photos: dict[str, Path]) -> None:
    before = [user(COUNT, photos["coffee"]), {"role": "assistant", "content": "One."}]
    first, colour = pipe.chat(before[:1], max_new_tokens=1), pipe.chat([*before, user(COLOUR)], max_new_tokens=1)
    assert first.category == pipe.route(COUNT).name != colour.category == pipe.route(COLOUR).name
    assert pipe.chat([*before, user(COLOUR, photos["coffee"])], max_new_tokens=1).visual_tokens == 32


def test_pieces_and_wishes(pipe: Pipeline) -> None:
    talk = [user("Hello."), {"role": "assistant", "content": "Hi."}, user("Say more.")]
    answer = pipe.stream_chat(talk, max_new_tokens=9)
    assert "".join(answer) == answer.result.text == pipe.chat(talk, max_new_tokens=9).text
    assert pipe.chat(talk, choices=["yes", "no"]).text in ("yes", "no")


def test_a_conversation_remembers_what_was_finished(pipe: Pipeline, photos: dict[str, Path]) -> None:
    talk = Conversation(pipe, system="Be brief.")
    first = talk.ask(COUNT, photos["coffee"], max_new_tokens=4).result
    left = talk.ask("Why is that so?", max_new_tokens=9)
    next(left)
    left.close()
    second = talk.ask(COLOUR, max_new_tokens=4).result
    assert [(each["role"], each["content"]) for each in talk.messages if each["role"] != "user"] == [
        ("system", "Be brief."), ("assistant", first.text), ("assistant", second.text),
    ]  # fmt: skip
    assert [each["content"][-1]["text"] for each in talk.messages if each["role"] == "user"] == [COUNT, COLOUR]
    assert pipe.chat(talk.messages[:-1], max_new_tokens=4).token_ids == second.token_ids


def test_what_is_refused_was_not_said(pipe: Pipeline, photos: dict[str, Path]) -> None:
    talk = Conversation(pipe)
    assert talk.ask(COUNT, photos["coffee"], photos["chelsea"], max_new_tokens=2).result.visual_tokens == 32
    with pytest.raises(ImageError) as refused:
        talk.ask(COLOUR, photos["coffee"])
    says(refused, "3 images", "2 images", "--max-images 3")
    with pytest.raises(PromptError, match="no text"):
        talk.ask(" ")
    assert len(talk.messages) == 2
    with pytest.raises(ImageError):
        pipe.chat([user(COUNT, Path("nowhere.png"))])


def test_clips_are_refused_by_name(pipe: Pipeline) -> None:
    clip = {"role": "user", "content": [{"type": "video", "path": "walk.mp4"}, {"type": "text", "text": COUNT}]}
    for ask in (lambda: pipe.chat([clip]), lambda: pipe.generate(None, COUNT, video="walk.mp4")):
        with pytest.raises(ImageError) as refused:
            ask()
        says(refused, pipe.bundle.root, "no clips", "media.video")
