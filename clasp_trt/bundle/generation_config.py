"""A checkpoint's ``generation_config.json``, resolved to a :class:`~clasp_trt.generation.Generation`.

Used where a checkpoint becomes a bundle, and for bundles from before the record ``generation``, which brought the file
along and nothing of it but the stop tokens. A setting is honoured, or refused by its name; what ``generate`` of
transformers would not look at, or what makes it faster alone, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NoReturn

from clasp_trt.brief import brief
from clasp_trt.bundle.generation_reader import generation
from clasp_trt.generation import WARPERS, Generation
from clasp_trt.storage.fields import Field, Format

NAME = "generation_config.json"
_FAR = 10**6
_TOP_K = 50
"""What transformers takes for a ``top_k`` that is absent, where it samples."""

_KEPT = (
    *("do_sample", *WARPERS, "sequence_bias", "encoder_repetition_penalty", "repetition_penalty"),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "min_length", "min_new_tokens"),
    *("max_length", "max_new_tokens", "forced_bos_token_id", "exponential_decay_length_penalty", "suppress_tokens"),
    *("begin_suppress_tokens",),
)
"""Settings with the same name and form there and in a :class:`Generation`."""
_HARMLESS: Mapping[str, Callable[[object], bool]] = {
    "num_beams": lambda value: value == 1,
    "num_beam_groups": lambda value: value in (0, 1),
    "num_return_sequences": lambda value: value == 1,
    "constraints": lambda value: not value,
    "force_words_ids": lambda value: not value,
    "dola_layers": lambda value: False,
    "guidance_scale": lambda value: value == 1,
    "watermarking_config": lambda value: not value,
    "token_healing": lambda value: value is False,
    "remove_invalid_values": lambda value: value is False,  # it hides an overflow, which is an error here
    "max_time": lambda value: False,
    "cache_implementation": lambda value: value != "quantized",
}
"""Settings that a runtime cannot follow, and the values of theirs that ask for nothing."""
KEYS = frozenset({*_KEPT, *_HARMLESS, "forced_eos_token_id", "stop_strings", "penalty_alpha"})
"""All settings that may change an answer, but for the stop tokens."""


def settings(config: Mapping[str, object], source: str, format: Format) -> Generation:
    """What ``config``, called ``source`` in errors, asks for.

    An absent or null ``top_k`` is 50 where the file samples, as in transformers. Raises ``format.field`` for a setting
    that cannot be honoured, or whose value makes no sense; it names the setting.
    """
    given = {key: value for key, value in config.items() if value is not None and key in KEYS}
    _refuse(given, source, format)
    kept = {key: value for key, value in given.items() if key in _KEPT}
    samples = kept.get("do_sample") is True
    for key in () if samples else WARPERS:  # transformers does not look at these, so they may be anything
        if key in kept and not _legal(key, kept[key], format):
            del kept[key]
    if samples:
        kept.setdefault("top_k", _TOP_K)
    for key in ("epsilon_cutoff", "eta_cutoff"):
        if key in kept and not 0 < _number(kept[key]) < 1:
            del kept[key]  # off there
    for key in ("top_p", "typical_p"):
        if key in kept and _number(kept[key]) >= 1:
            del kept[key]
    for key in ("suppress_tokens", "begin_suppress_tokens"):
        ids = kept.get(key)
        if isinstance(ids, list):
            kept[key] = [id for id in ids if type(id) is not int or id >= 0]  # no token has such an id
    if "forced_eos_token_id" in given:
        forced = given["forced_eos_token_id"]
        kept["forced_eos_token_ids"] = forced if isinstance(forced, list) else [forced]
    if "stop_strings" in given:
        stops = given["stop_strings"]
        kept["stop_strings"] = [stops] if isinstance(stops, str) else stops
    return generation(Field(source, "", kept, format))


def _refuse(given: Mapping[str, object], source: str, format: Format) -> None:
    def refuse(name: str) -> NoReturn:
        raise format.field(
            f"{source}: {name} is {brief(given[name])}, which is not supported: answers would not be those of "
            "transformers; take it out of the file if answers without it will do"
        )

    for name, harmless in _HARMLESS.items():
        if name in given and not harmless(given[name]):
            refuse(name)
    contrastive = given.get("do_sample") is not True and given.get("top_k", _TOP_K) not in (0, 1)
    if "penalty_alpha" in given and given["penalty_alpha"] != 0 and contrastive:
        refuse("penalty_alpha")


def _legal(key: str, value: object, format: Format) -> bool:
    try:
        generation(Field("", "", {key: value}, format))
    except format.field:
        return False
    return True


def _number(value: object) -> float:
    """NaN for anything else, which the reader then refuses."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return math.nan
    return float(max(-_FAR, min(value, _FAR)))  # JSON has integers beyond any float
