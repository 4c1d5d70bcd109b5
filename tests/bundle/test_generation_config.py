"""A checkpoint's ``generation_config.json``: honoured, or refused by name; never dropped."""

from __future__ import annotations

from typing import Any

import pytest

from clasp_trt.bundle import generation_config
from clasp_trt.errors import CheckpointError
from clasp_trt.generation import Generation
from clasp_trt.storage.fields import Format
from tests.mistakes import says

FORMAT = Format(CheckpointError, CheckpointError, "mend it")


def read(**config: Any) -> Generation:
    return generation_config.settings(config, "generation_config.json", FORMAT)


def test_a_file_of_token_ids_asks_for_nothing() -> None:
    assert read(
        bos_token_id=1, eos_token_id=2, pad_token_id=0, transformers_version="5.0", _from_model_config=True
    ) == (Generation())


def test_null_is_absent() -> None:
    assert read(**dict.fromkeys(generation_config.KEYS)) == Generation()


def test_the_settings_of_a_published_checkpoint() -> None:
    """As Qwen2-VL's and LLaVA-OneVision's files have them."""
    found = read(do_sample=True, temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.05, eos_token_id=[1, 2])
    assert found.stated() == {
        "do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05,
    }  # fmt: skip


def test_transformers_own_defaults_ask_for_nothing_but_a_length() -> None:
    """All that transformers writes out where somebody saved its defaults."""
    from transformers import GenerationConfig

    assert read(**GenerationConfig._get_default_generation_params()) == Generation(top_k=50, max_length=20)


@pytest.mark.parametrize(("top_k", "expected"), [(None, 50), (0, 0), (7, 7)])
def test_a_file_that_samples_has_transformers_top_k(top_k: int | None, expected: int) -> None:
    assert read(do_sample=True, top_k=top_k).top_k == expected
    assert read(top_k=top_k).top_k == (top_k or 0)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"stop_strings": "###"}, {"stop_strings": ["###"]}),
        ({"stop_strings": ["a", "b"]}, {"stop_strings": ["a", "b"]}),
        ({"forced_eos_token_id": 2}, {"forced_eos_token_ids": [2]}),
        ({"forced_eos_token_id": [2, 3]}, {"forced_eos_token_ids": [2, 3]}),
        ({"suppress_tokens": [-1, 4]}, {"suppress_tokens": [4]}),
        ({"min_new_tokens": 0}, {"min_new_tokens": 0}),
        ({"top_p": 10**400, "epsilon_cutoff": float("nan")}, {}),
        (
            {"epsilon_cutoff": 1.0, "eta_cutoff": 0, "typical_p": 1.5, "do_sample": True, "top_k": 0},
            {"do_sample": True},
        ),
        # transformers does not look at these without do_sample, so that they may be anything
        ({"temperature": 0, "top_p": 0.5, "top_k": -1, "min_p": 7, "typical_p": 0}, {"top_p": 0.5}),
    ],
)
def test_forms_that_mean_the_same(config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read(**config).stated() == expected


REFUSED: dict[str, Any] = {
    "num_beams": 4,
    "num_beam_groups": 2,
    "num_return_sequences": 2,
    "penalty_alpha": 0.6,
    "constraints": ["x"],
    "force_words_ids": [[1]],
    "dola_layers": "high",
    "guidance_scale": 1.5,
    "watermarking_config": {"bias": 2.0},
    "token_healing": True,
    "remove_invalid_values": True,
    "max_time": 3.0,
    "cache_implementation": "quantized",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(name: str) -> None:
    with pytest.raises(CheckpointError) as error:
        read(**{name: REFUSED[name]})
    says(error, "generation_config.json", name)


def test_every_setting_of_transformers_is_known() -> None:
    """So that what a new release adds is looked at before it is dropped."""
    from transformers import GenerationConfig

    speed = {
        *("use_cache", "use_mtp", "cache_config", "max_cache_len", "compile_config", "disable_compile", "low_memory"),
        *(
            "prefill_chunk_size",
            "continuous_batching_config",
            "speculation_type",
            "is_assistant",
            "num_assistant_tokens",
        ),
        *("num_assistant_tokens_schedule", "assistant_confidence_threshold", "prompt_lookup_num_tokens"),
        *("max_matching_ngram_size", "assistant_early_exit", "assistant_lookbehind", "target_lookbehind"),
        "assistant_ensemble_weight",
    }
    returned = {
        "output_attentions",
        "output_hidden_states",
        "output_scores",
        "output_logits",
        "return_dict_in_generate",
    }
    ids = {"pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"}
    of_beams = {"early_stopping", "length_penalty", "diversity_penalty"}  # without beams, which are refused
    without_effect = {"renormalize_logits", "transformers_version"}
    known = generation_config.KEYS | speed | returned | ids | of_beams | without_effect
    assert {name for name in vars(GenerationConfig()) if not name.startswith("_")} - known == set()


@pytest.mark.parametrize(
    "config",
    [
        {"repetition_penalty": 0},
        {"repetition_penalty": "1.5"},
        {"no_repeat_ngram_size": 2.5},
        {"no_repeat_ngram_size": -1},
        {"bad_words_ids": [[]]},
        {"bad_words_ids": [3]},
        {"bad_words_ids": [["a"]]},
        {"suppress_tokens": 5},
        {"suppress_tokens": ["a"]},
        {"sequence_bias": [[[1], "a"]]},
        {"sequence_bias": {"1": 2.0}},
        {"exponential_decay_length_penalty": [5]},
        {"min_length": True},
        {"max_new_tokens": 0},
        {"stop_strings": [""]},
        {"stop_strings": 5},
        {"do_sample": "yes"},
        {"do_sample": True, "temperature": 0},
        {"do_sample": True, "top_p": -0.1},
        {"do_sample": True, "min_p": 1.5},
        {"do_sample": True, "top_h": 0},
        {"do_sample": True, "typical_p": 0},
        {"do_sample": True, "top_k": -3},
        {"do_sample": True, "temperature": 10**400},
        {"do_sample": True, "top_p": -(10**400)},
        {"repetition_penalty": float("nan")},
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(config: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError) as error:
        read(**config)
    says(error, "generation_config.json", list(config)[-1], "expected")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (Generation(bad_words_ids=((1, 40),)), "bad_words_ids"),
        (Generation(sequence_bias=(((40,), 1.0),)), "sequence_bias"),
        (Generation(forced_bos_token_id=40), "forced_bos_token_id"),
        (Generation(forced_eos_token_ids=(2, 40)), "forced_eos_token_ids"),
    ],
)
def test_ids_beyond_the_vocabulary_are_told(settings: Generation, named: str) -> None:
    (problem,) = settings.beyond(40)
    says(problem, named, 40)
    assert not list(settings.beyond(41))
