"""One of some texts: whatever is drawn, the answer is one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clasp_trt.errors import PromptError
from clasp_trt.runtime.logits.choices import Choices
from clasp_trt.runtime.text.tokenizer import Tokenizer
from tests.mistakes import says

TEXTS = ["red", "red car", "blue", "a red boat", "1", "10"]
STOP = 2


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Tokenizer:
    return Tokenizer.from_file(checkpoint / "tokenizer.json")


def walk(choices: Choices, rng: np.random.Generator) -> tuple[list[int], bool]:
    """Random tokens of those allowed; whether a stop token ended them."""
    ids: list[int] = []
    while not choices.complete:
        token = int(rng.choice(np.flatnonzero(choices.allowed())))
        if token == STOP:
            return ids, True
        choices.accept(token)
        ids.append(token)
    return ids, False


def test_every_walk_is_a_text_and_every_text_a_walk(tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    walks = [walk(Choices(TEXTS, tokenizer, [STOP], 600), rng) for _ in range(200)]
    assert {tokenizer.decode(ids) for ids, _ in walks} == set(TEXTS)
    stopped = {tokenizer.decode(ids) for ids, stopped in walks if stopped}
    assert stopped == {"red", "1"}, "where another goes on, the model says that it is over"


def test_a_lone_choice_is_forced(tokenizer: Tokenizer) -> None:
    ids, stopped = walk(Choices(["blue"], tokenizer, [STOP], 600), np.random.default_rng(0))
    assert tokenizer.decode(ids) == "blue"
    assert not stopped


@pytest.mark.parametrize("texts", [[], "yes", ["yes", ""], [3], None, ["</s>"], ["\n\ud800"]])
def test_texts_that_cannot_be_chosen(tokenizer: Tokenizer, texts: object) -> None:
    with pytest.raises(PromptError) as error:
        Choices(texts, tokenizer, [STOP], 600)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_a_beginning_of_another_needs_a_stop_token(tokenizer: Tokenizer) -> None:
    with pytest.raises(PromptError) as error:
        Choices(["1", "10"], tokenizer, [], 600)
    says(error, "'1'", "stop token")
    assert walk(Choices(["1", "2"], tokenizer, [], 600), np.random.default_rng(0))[1] is False


def test_a_text_with_a_stop_token_in_it_is_refused(tokenizer: Tokenizer) -> None:
    inside = tokenizer.encode("red", add_special_tokens=False)[1]
    with pytest.raises(PromptError) as error:
        Choices(["red"], tokenizer, [inside], 600)
    says(error, "'red'")
