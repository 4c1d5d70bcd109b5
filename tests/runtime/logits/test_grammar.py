"""Answers that a regular expression or a JSON schema describes, whatever is drawn."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llguidance")

from clasp_trt.errors import PromptError
from clasp_trt.runtime.logits.grammar import Grammar, Grammars
from clasp_trt.runtime.text.tokenizer import Tokenizer
from tests.mistakes import says

SHIPPED = Path(__file__).resolve().parents[3] / "clasp_trt" / "assets" / "clasp-tiny" / "tokenizer.json"
STOP, VOCABULARY = 2, 600


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Tokenizer:
    return Tokenizer.from_file(checkpoint / "tokenizer.json")


@pytest.fixture(scope="module")
def grammars(tokenizer: Tokenizer) -> Grammars:
    return Grammars(tokenizer, [STOP], VOCABULARY)


def walk(grammar: Grammar, rng: np.random.Generator) -> list[int]:
    ids: list[int] = []
    while not grammar.complete:
        allowed = grammar.allowed()
        assert allowed.shape == (VOCABULARY,)
        token = int(rng.choice(np.flatnonzero(allowed)))
        if token == STOP:
            break
        grammar.accept(token)
        ids.append(token)
    return ids


@pytest.mark.parametrize(
    "pattern",
    [
        "red|blue",
        "[0-9]{2,4}",
        "(yes|no), because .{3}",
        "a*b",
        "猫?x",
        "(-|/)[a-c]+",
        "^[ab]c$",
        r"[ab]\\$",
        r"[ab]\$",
        "a\n[bc]",
    ],
)
def test_every_walk_matches(grammars: Grammars, tokenizer: Tokenizer, pattern: str) -> None:
    rng = np.random.default_rng(1)
    texts = {tokenizer.decode(walk(grammars.regex(pattern), rng)) for _ in range(20)}
    assert all(re.fullmatch(pattern, text) for text in texts)
    assert len(texts) > 1


def test_every_walk_is_json_of_the_schema(grammars: Grammars, tokenizer: Tokenizer) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["cup", "cat"]}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["name", "count"],
        "additionalProperties": False,
    }
    rng = np.random.default_rng(2)
    for _ in range(10):
        found = json.loads(tokenizer.decode(walk(grammars.json_schema(schema), rng)))
        assert found["name"] in ("cup", "cat")
        assert 0 <= found["count"] <= 99


def test_a_word_may_have_the_space_in_front_that_decoding_takes_away(grammars: Grammars, tokenizer: Tokenizer) -> None:
    first = tokenizer.encode("blue", add_special_tokens=False)[0]
    assert tokenizer.spelling(first).startswith(b" ")
    assert grammars.regex("blue").allowed()[first]


def test_a_stop_token_that_is_text_ends_nothing_before_its_time(tokenizer: Tokenizer) -> None:
    stop = tokenizer.encode("ab", add_special_tokens=False)[-1]
    grammar = Grammars(tokenizer, [stop], VOCABULARY).regex(".{3}")
    assert not grammar.allowed()[stop]


@pytest.mark.parametrize(
    "pattern", ["", "^$", "a(b", "a)(b", "(?=x)y", "\ud800", "(" * 5000 + ")" * 5000, "\x1b[31m(", 5]
)
def test_patterns_that_cannot_be_followed(grammars: Grammars, pattern: Any) -> None:
    with pytest.raises(PromptError) as error:
        grammars.regex(pattern)
    says(error, "regex")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "schema", [{"type": "objec"}, {"$ref": "http://example.org/x"}, 5, {"enum": [float("nan")]}, {1j: 2}]
)
def test_schemas_that_are_not_followed(grammars: Grammars, schema: Any) -> None:
    with pytest.raises(PromptError) as error:
        grammars.json_schema(schema)
    says(error, "json_schema")
    assert "\n" not in str(error.value)


def test_a_vocabulary_that_cannot_go_on_says_so() -> None:
    """Of clasp-tiny's words none goes on after the letter r."""
    tokenizer = Tokenizer.from_file(SHIPPED)
    grammar = Grammars(tokenizer, [STOP], 195).regex("red|blue")
    (letter,) = (id for id in range(195) if tokenizer.spelling(id) == b" r")
    grammar.accept(letter)
    with pytest.raises(PromptError) as error:
        grammar.allowed()
    says(error, "tokens")
