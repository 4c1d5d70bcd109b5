"""Settings that hold with and without sampling: transformers' logits processors, on one row of logits.

Each is a function of all ids so far, int64 ``[ids]``, those of the prompt first, and of logits, float32
``[vocabulary]``, which it may change. Arithmetic is float32, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clasp_trt.generation import Generation, Ids

Logits = NDArray[np.float32]
Process = Callable[[NDArray[np.int64], Logits], Logits]
_FORBIDDEN = np.float32(-np.inf)


@dataclass(frozen=True)
class Request:
    """What processors know of an answer: the ids ``[prompt]`` before it, its stop tokens, and how many tokens it may
    have."""

    prompt: NDArray[np.int64]
    stops: Ids
    limit: int


def processors(generation: Generation, request: Request) -> list[Process]:
    """Those that are on, in transformers' order."""
    made: list[Process] = []
    begin = len(request.prompt)
    if generation.sequence_bias:
        made.append(sequence_bias(dict(generation.sequence_bias)))
    if generation.encoder_repetition_penalty != 1:
        made.append(repetition_penalty(1 / generation.encoder_repetition_penalty, among=request.prompt))
    if generation.repetition_penalty != 1:
        made.append(repetition_penalty(generation.repetition_penalty))
    if generation.no_repeat_ngram_size:
        made.append(no_repeat_ngram(generation.no_repeat_ngram_size))
    if generation.encoder_no_repeat_ngram_size:
        made.append(no_repeat_ngram(generation.encoder_no_repeat_ngram_size, among=request.prompt))
    words = [word for word in generation.bad_words_ids if word not in [(stop,) for stop in request.stops]]
    if words:
        made.append(sequence_bias(dict.fromkeys(words, -np.inf)))
    least = generation.min_length
    if generation.min_new_tokens is not None:
        least = begin + generation.min_new_tokens
    if least > begin and request.stops:
        made.append(min_length(least, request.stops))
    if generation.forced_bos_token_id is not None:
        made.append(forced((generation.forced_bos_token_id,), at=1))
    if generation.forced_eos_token_ids:
        made.append(forced(generation.forced_eos_token_ids, at=begin + request.limit - 1))
    if generation.exponential_decay_length_penalty is not None and request.stops:
        start, factor = generation.exponential_decay_length_penalty
        made.append(length_penalty(begin + start, factor, request.stops))
    if generation.suppress_tokens:
        made.append(suppress(generation.suppress_tokens))
    if generation.begin_suppress_tokens:
        late = begin == 1 and generation.forced_bos_token_id is not None
        made.append(suppress(generation.begin_suppress_tokens, at=begin + late))
    return made


def sequence_bias(biases: dict[Ids, float]) -> Process:
    """``SequenceBiasLogitsProcessor``, and with minus infinity ``NoBadWordsLogitsProcessor``."""
    last = np.array([ids[-1] for ids in biases])
    longest = max(map(len, biases))

    def process(ids: NDArray[np.int64], logits: Logits) -> Logits:
        recent = tuple(ids[max(0, len(ids) - longest + 1) :].tolist())
        added = np.zeros_like(logits)
        for place, (sequence, bias) in zip(last, biases.items(), strict=True):
            before = sequence[:-1]
            if not before or recent[-len(before) :] == before:
                added[place] += np.float32(bias)
        return logits + added

    return process


def repetition_penalty(penalty: float, among: NDArray[np.int64] | None = None) -> Process:
    """``RepetitionPenaltyLogitsProcessor``: of all ids so far, or of those ``among`` which are given."""

    def process(ids: NDArray[np.int64], logits: Logits) -> Logits:
        seen = np.unique(ids if among is None else among)
        seen = seen[seen < logits.size]
        scores = logits[seen]
        logits[seen] = np.where(scores < 0, scores * penalty, scores / penalty)
        return logits

    return process


def answer_penalty(presence: float, frequency: float, begin: int) -> Process:
    """OpenAI's penalties, which transformers does not have: of the ids from ``begin`` on, ``presence`` once and
    ``frequency`` for each time."""

    def process(ids: NDArray[np.int64], logits: Logits) -> Logits:
        said, times = np.unique(ids[begin:], return_counts=True)
        inside = said < logits.size
        logits[said[inside]] -= np.float32(presence) + np.float32(frequency) * times[inside].astype(np.float32)
        return logits

    return process


def no_repeat_ngram(size: int, among: NDArray[np.int64] | None = None) -> Process:
    """``NoRepeatNGramLogitsProcessor``: no sequence of ``size`` ids of the text so far, or of that ``among`` which is
    given, is completed again."""

    def process(ids: NDArray[np.int64], logits: Logits) -> Logits:
        text = ids if among is None else among
        if len(text) < size or len(ids) < size - 1:
            return logits
        windows = np.lib.stride_tricks.sliding_window_view(text, size)
        again = (windows[:, :-1] == ids[len(ids) - size + 1 :]).all(axis=1)
        return _forbid(logits, windows[again, -1])

    return process


def min_length(least: int, stops: Sequence[int]) -> Process:
    """``MinLengthLogitsProcessor``: no stop token before ``least`` ids, the prompt's among them."""
    ends = np.array(stops)
    return lambda ids, logits: _forbid(logits, ends) if len(ids) < least else logits


def forced(tokens: Sequence[int], at: int) -> Process:
    """``ForcedBOSTokenLogitsProcessor`` and ``ForcedEOSTokenLogitsProcessor``: after ``at`` ids, nothing else."""

    def process(ids: NDArray[np.int64], logits: Logits) -> Logits:
        if len(ids) == at:
            logits[:] = _FORBIDDEN
            logits[list(tokens)] = 0
        return logits

    return process


def length_penalty(start: int, factor: float, stops: Sequence[int]) -> Process:
    """``ExponentialDecayLengthPenalty``: beyond ``start`` ids, stop tokens rise by their magnitude times a power of
    ``factor``."""
    ends = np.array(stops)

    def process(ids: NDArray[np.int64], logits: Logits) -> Logits:
        if len(ids) > start:
            inside = ends[ends < logits.size]
            scores = logits[inside]
            with np.errstate(over="ignore", invalid="ignore"):  # a token that is forbidden stays so
                rise = np.abs(scores) * np.float32(np.float64(factor) ** (len(ids) - start) - 1)
                rise = np.nan_to_num(rise, posinf=np.finfo(np.float32).max)
            logits[inside] = np.where(np.isfinite(scores), scores + rise, scores)
        return logits

    return process


def suppress(tokens: Sequence[int], at: int | None = None) -> Process:
    """``SuppressTokensLogitsProcessor``, and with ``at`` ``SuppressTokensAtBeginLogitsProcessor``: after so many ids
    alone."""
    never = np.array(tokens)
    return lambda ids, logits: _forbid(logits, never) if at in (None, len(ids)) else logits


def _forbid(logits: Logits, tokens: NDArray[np.int64]) -> Logits:
    logits[tokens[tokens < logits.size]] = _FORBIDDEN
    return logits
