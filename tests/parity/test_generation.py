"""A bundle's settings give the tokens that transformers gives with the same ``generation_config.json``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from clasp_trt.bundle import Bundle, generation_config
from clasp_trt.errors import CheckpointError
from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.result import Result
from clasp_trt.runtime.sampling import GREEDY
from clasp_trt.storage.fields import Format

PHOTO = Path(__file__).resolve().parents[2] / "examples" / "photos" / "coffee.jpg"
PROMPT = "What is in the picture?"
TOKENS = 16


class Pair:
    """The unpruned bundle and its checkpoint, which are asked the same with the same settings."""

    def __init__(self, pipeline: Pipeline, checkpoint: Path) -> None:
        from transformers import AutoProcessor, LlavaForConditionalGeneration

        self.pipeline, self.checkpoint = pipeline, checkpoint
        self._processor: Any = AutoProcessor.from_pretrained(checkpoint)
        self._model: Any = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
        content = [{"type": "image", "image": Image.open(PHOTO).convert("RGB")}, {"type": "text", "text": PROMPT}]
        self._inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip

    def file(self, settings: dict[str, Any]) -> dict[str, Any]:
        own: dict[str, Any] = json.loads((self.checkpoint / "generation_config.json").read_text())
        return {**own, **settings}

    def theirs(self, settings: dict[str, Any], **options: Any) -> list[int]:
        from transformers import GenerationConfig

        self._model.generation_config = GenerationConfig.from_dict(self.file(settings))
        with torch.no_grad():
            made = self._model.generate(**self._inputs, **options, tokenizer=self._processor.tokenizer)
        found: list[int] = made[0][self.prompt_tokens :].tolist()
        return found

    def ours(self, settings: dict[str, Any], **options: Any) -> Result:
        format = Format(CheckpointError, CheckpointError, "mend it")
        vars(self.pipeline.bundle)["generation"] = generation_config.settings(self.file(settings), "file", format)
        return self.pipeline.generate(PHOTO, PROMPT, **options)

    @property
    def prompt_tokens(self) -> int:
        return int(self._inputs["input_ids"].shape[1])

    def text(self, tokens: list[int]) -> str:
        return str(self._processor.tokenizer.decode(tokens, skip_special_tokens=True))


@pytest.fixture(scope="module")
def pair(built: Callable[..., Bundle], checkpoint: Path) -> Pair:
    return Pair(load(built(prune_at="none").root, method="none", threads=1), checkpoint)


@pytest.fixture(scope="module")
def plain(pair: Pair) -> list[int]:
    """The greedy answer without any setting."""
    return pair.theirs({}, max_new_tokens=TOKENS)


SETTINGS: dict[str, dict[str, Any]] = {
    "none": {},
    "repetition_penalty": {"repetition_penalty": 1.5},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": [3, 2.5]},
    "forced_eos_token_id": {"forced_eos_token_id": 2},
    "sampling among one": {"do_sample": True, "top_k": 1, "temperature": 0.3},
    "sampling settings without sampling": {"temperature": 0.2, "top_p": 0.5, "top_k": 3},
    "several": {
        **{"repetition_penalty": 1.2, "no_repeat_ngram_size": 2, "min_new_tokens": 5, "begin_suppress_tokens": [2]},
        **{"encoder_repetition_penalty": 1.1, "encoder_no_repeat_ngram_size": 2, "suppress_tokens": [5, 9]},
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_tokens_are_those_of_transformers(pair: Pair, name: str) -> None:
    expected = pair.theirs(SETTINGS[name], max_new_tokens=TOKENS)
    assert list(pair.ours(SETTINGS[name], max_new_tokens=TOKENS).token_ids) == expected


def test_tokens_that_the_answer_has_can_be_taken_from_it(pair: Pair, plain: list[int]) -> None:
    for settings in (
        {"suppress_tokens": [plain[3]]},
        {"begin_suppress_tokens": [plain[0]]},
        {"bad_words_ids": [[plain[4], plain[5]], [plain[8]]]},
        {"sequence_bias": [[[plain[2], plain[3]], -30.0]]},
    ):
        expected = pair.theirs(settings, max_new_tokens=TOKENS)
        assert expected != plain, "the setting did something"
        assert list(pair.ours(settings, max_new_tokens=TOKENS).token_ids) == expected


@pytest.mark.parametrize("name", ["min_new_tokens", "min_length"])
def test_a_stop_token_waits_for_the_least_length(pair: Pair, plain: list[int], name: str) -> None:
    pipeline, own = pair.pipeline, pair.pipeline._steps._model
    settings = {name: 8 + (pair.prompt_tokens if name == "min_length" else 0)}
    pipeline._steps._model = replace(own, stop_token_ids=(plain[3],))
    try:
        found = pair.ours(settings, max_new_tokens=TOKENS).token_ids
    finally:
        pipeline._steps._model = own
    assert list(found) == pair.theirs({**settings, "eos_token_id": plain[3]}, max_new_tokens=TOKENS) != plain
    assert len(found) > 8


@pytest.mark.parametrize("beyond", [5, 30])
def test_a_greatest_length_is_that_of_prompt_and_answer(pair: Pair, plain: list[int], beyond: int) -> None:
    settings = {"max_length": pair.prompt_tokens + beyond}
    found = pair.ours(settings)
    assert list(found.token_ids) == pair.theirs(settings)
    assert found.finish_reason == "length"
    assert len(pair.ours(settings, max_new_tokens=2).token_ids) == 2, "what a request says comes first"


def test_stop_strings_end_the_answer_where_transformers_ends_it(pair: Pair, plain: list[int]) -> None:
    texts = [pair.text([each]) for each in plain]
    within = next(n for n in range(4, TOKENS - 2) if len(texts[n].strip()) and len(texts[n + 1].strip()))
    across = texts[within].strip()[-1] + texts[within + 1].strip()[0]
    for string in (texts[within].strip(), across):
        settings = {"stop_strings": [string, "never said"]}
        expected = pair.theirs(settings, max_new_tokens=TOKENS)
        found = pair.ours(settings, max_new_tokens=TOKENS)
        assert list(found.token_ids) == expected
        if expected != plain:
            assert found.finish_reason == "stop"
            assert string not in found.text
            assert pair.text(expected).startswith(found.text + string)


def test_a_request_comes_before_the_bundle(pair: Pair, plain: list[int]) -> None:
    settings = {"do_sample": True, "temperature": 5.0, "stop_strings": ["e"], "max_new_tokens": 3}
    found = pair.ours(settings, sampling=GREEDY, stop=[], max_new_tokens=TOKENS)
    assert list(found.token_ids) == plain
    assert found.generation.effective() == {"max_new_tokens": TOKENS}
    drawn = pair.ours(settings)
    assert drawn.generation.effective() == {"top_k": 50, **settings}
    assert len(drawn.token_ids) <= 3


def test_pieces_are_the_text_up_to_a_stop_string(pair: Pair, plain: list[int]) -> None:
    whole = pair.ours({}, max_new_tokens=TOKENS).text
    string = whole[5:8]
    answer = pair.pipeline.stream(PHOTO, PROMPT, max_new_tokens=TOKENS, stop=[string, whole[6:9] + "!"])
    pieces = list(answer)
    assert all(pieces)
    assert "".join(pieces) == answer.result.text == whole[: whole.index(string)]


def test_choices_are_those_of_a_prefix_function(pair: Pair) -> None:
    """Token by token the likeliest of what may follow, a stop token where a choice may end."""
    choices = ["two cups", "no cup", "ten", "ten cups", "a table"]
    spelled = [pair.pipeline._steps.prompts.tokenizer.encode(each, add_special_tokens=False) for each in choices]
    (stop,) = pair.pipeline.bundle.manifest.model.stop_token_ids

    def allowed(batch: int, ids: Any) -> list[int]:
        said = ids[pair.prompt_tokens :].tolist()
        return [([*each, stop])[len(said)] for each in spelled if each[: len(said)] == said] or [stop]

    for settings in ({}, {"repetition_penalty": 3.0}, {"suppress_tokens": [spelled[0][0]]}):
        expected = pair.theirs(settings, max_new_tokens=TOKENS, prefix_allowed_tokens_fn=allowed)
        found = pair.ours(settings, choices=choices)
        assert [id for id in found.token_ids if id != stop] == [id for id in expected if id != stop]
        assert found.text in choices
