"""Every setting changes logits as transformers does with the same ``generation_config.json``, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clasp_trt.bundle import generation_config
from clasp_trt.errors import CheckpointError
from clasp_trt.runtime.logits.processors import Logits, Request, processors
from clasp_trt.storage.fields import Format

VOCABULARY, PROMPT, LIMIT = 40, 12, 9
STOPS = (2, 7)
SETTINGS: dict[str, dict[str, Any]] = {
    "repetition_penalty": {"repetition_penalty": 1.3},
    "repetition_penalty that rewards": {"repetition_penalty": 0.7},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 1.4},
    "no_repeat_ngram_size 1": {"no_repeat_ngram_size": 1},
    "no_repeat_ngram_size 2": {"no_repeat_ngram_size": 2},
    "no_repeat_ngram_size 3": {"no_repeat_ngram_size": 3},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 2},
    "bad_words_ids": {"bad_words_ids": [[5], [1, 3], [0, 1, 2], [2]]},
    "sequence_bias": {"sequence_bias": [[[4], 2.5], [[1, 3], -1.5], [[2, 3], 4.0], [[0, 1, 3], 7.25]]},
    "min_length of the prompt": {"min_length": PROMPT},
    "min_length beyond the prompt": {"min_length": PROMPT + 3},
    "min_new_tokens": {"min_new_tokens": 4},
    "min_new_tokens before min_length": {"min_new_tokens": 1, "min_length": PROMPT + 5},
    "forced_bos_token_id": {"forced_bos_token_id": 3},
    "forced_eos_token_id": {"forced_eos_token_id": 7},
    "forced_eos_token_id of several": {"forced_eos_token_id": [2, 7]},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": [2, 1.5]},
    "suppress_tokens": {"suppress_tokens": [0, 9, 39, 1000, -1]},
    "begin_suppress_tokens": {"begin_suppress_tokens": [2, 3]},
}
SETTINGS["all, in order"] = {name: value for each in SETTINGS.values() for name, value in each.items()}


@pytest.fixture(scope="module")
def theirs() -> Callable[[dict[str, Any], np.ndarray[Any, Any]], Callable[[np.ndarray[Any, Any], Logits], Logits]]:
    """What transformers makes of settings for a prompt: its own list of processors."""
    import torch
    from transformers import GenerationConfig, GenerationMixin

    mixin: Any = GenerationMixin
    model = SimpleNamespace(
        config=SimpleNamespace(is_encoder_decoder=False), _merge_criteria_processor_list=lambda default, own: default
    )

    def of(settings: dict[str, Any], prompt: np.ndarray[Any, Any]) -> Callable[[np.ndarray[Any, Any], Logits], Logits]:
        config = GenerationConfig(**settings)
        config.update(**mixin_defaults(config), defaults_only=True)
        config.max_length = len(prompt) + LIMIT  # as generate() works it out of max_new_tokens
        if config.min_new_tokens is not None:
            config.min_length = len(prompt) + config.min_new_tokens
        config._eos_token_tensor = torch.tensor(STOPS)
        made = mixin._get_logits_processor(
            model,
            generation_config=config,
            input_ids_seq_length=len(prompt),
            encoder_input_ids=torch.from_numpy(prompt)[None],
            device="cpu",
        )
        return lambda ids, logits: made(torch.from_numpy(ids)[None], torch.from_numpy(logits.copy())[None])[0].numpy()

    return of


def mixin_defaults(config: Any) -> dict[str, Any]:
    found: dict[str, Any] = config._get_default_generation_params()
    return found


def of_file(config: dict[str, Any]) -> Any:
    return generation_config.settings(config, "file", Format(CheckpointError, CheckpointError, "mend it"))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_logits_are_those_of_transformers(settings: dict[str, Any], theirs: Any) -> None:
    """At every length from the prompt's to one beyond the answer's, with ids that repeat and one beyond the logits."""
    rng = np.random.default_rng(5)
    changed = 0
    for prompt_length in (PROMPT, 1):
        ids = np.concatenate([rng.integers(0, 5, PROMPT + LIMIT), [0]])
        if not any(name.startswith("encoder") for name in settings):  # transformers falls over it there
            ids[3] = VOCABULARY + 2  # an embedding without a logit, as an image's token may be
        prompt = ids[:prompt_length]
        made = processors(of_file(settings), Request(prompt, STOPS, LIMIT))
        expected = theirs(settings, prompt)
        for length in range(prompt_length, prompt_length + LIMIT + 1):
            logits = rng.normal(0, 4, VOCABULARY).astype(np.float32)
            logits[11] = -np.inf
            found = logits.copy()
            for process in made:
                found = process(ids[:length], found)
            np.testing.assert_array_equal(found, expected(ids[:length], logits))
            changed += not np.array_equal(found, logits)
    assert changed or settings == {"min_length": PROMPT}, "the setting did something"


def test_nothing_is_done_by_default() -> None:
    assert processors(of_file({}), Request(np.arange(3), STOPS, LIMIT)) == []


def test_without_stop_tokens_there_is_none_to_hold_back() -> None:
    settings = {"min_new_tokens": 3, "min_length": 90, "exponential_decay_length_penalty": [0, 2.0]}
    assert processors(of_file(settings), Request(np.arange(3), (), LIMIT)) == []


def test_a_length_penalty_does_not_overflow() -> None:
    """1.5 to the power of 4000 is beyond any float."""
    made = processors(of_file({"exponential_decay_length_penalty": [0, 1.5]}), Request(np.zeros(1, int), STOPS, 5000))
    (process,) = made
    found = process(np.zeros(4000, np.int64), np.ones(VOCABULARY, np.float32))
    assert np.isfinite(found).all()
    assert int(found.argmax()) == STOPS[0]
