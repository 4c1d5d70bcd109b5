"""How the tokens of an answer are chosen, as data: the settings of transformers' ``GenerationConfig``, by its names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

Ids = tuple[int, ...]
WARPERS = ("temperature", "top_h", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
"""Settings that matter to sampling alone, in the order in which they are applied."""


@dataclass(frozen=True)
class Generation:
    """Settings that hold for every answer unless a request says otherwise. The defaults are plain greedy decoding.

    Names and meanings are transformers', and so is the order in which they are applied (``docs/generation.md``). Ids
    that the prompt holds, those of visual tokens among them, count for whatever looks back.

    Attributes:
        do_sample: draw the token, else take the likeliest.
        temperature: divides the logits; above 0. This and the next seven matter when sampling alone.
        top_h: share of the entropy of the 100 likeliest tokens that the kept ones may have, above 0 to 1; None is off.
        top_k: keep this many likeliest tokens, and their equals; 0 is off.
        top_p: keep the fewest likeliest tokens that together have this probability, 0 to 1; 1 is off.
        min_p: keep tokens with at least this share of the likeliest one's probability, 0 to 1; 0 is off.
        typical_p: keep the fewest tokens nearest to the expected information that together have this probability,
            above 0 to 1; 1 is off.
        epsilon_cutoff: keep tokens of at least this probability, 0 to below 1; 0 is off.
        eta_cutoff: the same, of a probability that follows the entropy; 0 is off.
        sequence_bias: sequences of ids, and what is added to the logit of the last one where the others precede it.
        encoder_repetition_penalty: divides logits of the prompt's ids by 1 / this if above 0, else multiplies; 1 is
            off.
        repetition_penalty: divides logits of all ids so far by this if above 0, else multiplies; 1 is off.
        no_repeat_ngram_size: no sequence of so many ids occurs twice; 0 is off.
        encoder_no_repeat_ngram_size: no sequence of so many ids of the prompt occurs in the answer; 0 is off.
        bad_words_ids: sequences of ids that do not occur; a stop token by itself is never one.
        min_length: no stop token before prompt and answer have so many ids.
        min_new_tokens: no stop token before the answer has so many ids; instead of `min_length` unless None.
        max_length: where an answer ends at the latest, the ids of its prompt included; None is off.
        max_new_tokens: the same without its prompt; instead of `max_length` unless None.
        forced_bos_token_id: what follows a prompt of a single id.
        forced_eos_token_ids: what the last token is, if an answer reaches its greatest length.
        exponential_decay_length_penalty: tokens of an answer from which on stop tokens become likelier, and the factor.
        suppress_tokens: ids that do not occur.
        begin_suppress_tokens: ids that do not begin an answer.
        stop_strings: what ends an answer when it was spelled.
    """

    do_sample: bool = False
    temperature: float = 1.0
    top_h: float | None = None
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    sequence_bias: tuple[tuple[Ids, float], ...] = ()
    encoder_repetition_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    bad_words_ids: tuple[Ids, ...] = ()
    min_length: int = 0
    min_new_tokens: int | None = None
    max_length: int | None = None
    max_new_tokens: int | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_ids: Ids = ()
    exponential_decay_length_penalty: tuple[int, float] | None = None
    suppress_tokens: Ids = ()
    begin_suppress_tokens: Ids = ()
    stop_strings: tuple[str, ...] = ()

    def stated(self) -> dict[str, object]:
        """The settings that are on, by name: what differs from plain greedy decoding, as JSON values."""
        values = {each.name: (getattr(self, each.name), each.default) for each in fields(self)}
        return {name: _plain(value) for name, (value, default) in values.items() if value != default}

    def effective(self) -> dict[str, object]:
        """Those of :meth:`stated` that matter to the tokens: without sampling, what is for sampling alone does not."""
        return {name: value for name, value in self.stated().items() if self.do_sample or name not in WARPERS}

    def beyond(self, vocabulary: int) -> Iterator[str]:
        """What asks for an id that a vocabulary of this size lacks, as ``name: id``."""
        biased = (ids for ids, _ in self.sequence_bias)
        bos = () if self.forced_bos_token_id is None else (self.forced_bos_token_id,)
        for name, sequences in (
            ("sequence_bias", biased),
            ("bad_words_ids", self.bad_words_ids),
            ("forced_bos_token_id", (bos,)),
            ("forced_eos_token_ids", (self.forced_eos_token_ids,)),
        ):
            for ids in sequences:
                if max(ids, default=0) >= vocabulary:
                    yield f"{name}: {max(ids)} is outside the vocabulary of {vocabulary}"


def _plain(value: object) -> object:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
