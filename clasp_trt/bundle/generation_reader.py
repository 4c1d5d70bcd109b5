"""The record ``generation`` of a manifest: settings by name, those alone that are on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clasp_trt.generation import Generation, Ids
from clasp_trt.storage.fields import Field


def generation(item: Field) -> Generation:
    """Reads what :meth:`Generation.stated` gives. Every key is optional, and none is unknown; each value has its
    range."""
    members = item.record(optional=tuple(_RULES))
    values = {name: rule(members[name]) for name, rule in _RULES.items() if name in members}
    return Generation(**values)  # type: ignore[arg-type]  # each rule gives what its field holds


def _flag(item: Field) -> bool:
    if type(item.value) is not bool:
        item.fail("true or false")
    return item.value


def _between(low: float, high: float, *, above: bool = False, below: bool = False) -> Callable[[Field], float]:
    """A number from ``low`` to ``high``, ``above`` the one or ``below`` the other."""
    words = f"a number {'above' if above else 'from'} {low:g} {'to below' if below else 'to'} {high:g}"

    def rule(item: Field) -> float:
        value = item.number() if type(item.value) in (int, float) else item.fail(words)
        if not low <= value <= high or (above and value == low) or (below and value == high):
            item.fail(words)
        return value

    return rule


def _positive(item: Field) -> float:
    value = item.number()
    if value <= 0:
        item.fail("a finite number above 0")
    return value


def _count(item: Field) -> int:
    return item.integer(0)


def _length(item: Field) -> int:
    return item.integer(1)


def _ids(item: Field) -> Ids:
    return tuple(each.integer(0) for each in item.elements())


def _sequence(item: Field) -> Ids:
    if not (ids := _ids(item)):
        item.fail("one or more token ids")
    return ids


def _sequences(item: Field) -> tuple[Ids, ...]:
    return tuple(_sequence(each) for each in item.elements())


def _pair(item: Field, expected: str) -> tuple[Field, Field]:
    parts = item.elements()
    if len(parts) != 2:
        item.fail(expected)
    return parts[0], parts[1]


def _biases(item: Field) -> tuple[tuple[Ids, float], ...]:
    pairs = [_pair(each, "token ids and a number") for each in item.elements()]
    return tuple((_sequence(ids), bias.number()) for ids, bias in pairs)


def _decay(item: Field) -> tuple[int, float]:
    start, factor = _pair(item, "a whole number and a factor above 0")
    return start.integer(0), _positive(factor)


def _strings(item: Field) -> tuple[str, ...]:
    found = tuple(each.string() for each in item.elements())
    if "" in found:
        item.fail("strings that are not empty")
    for each in item.elements():
        try:
            each.string().encode()
        except UnicodeEncodeError:
            each.fail("a string without lone surrogates")
    return found


_RULES: Mapping[str, Callable[[Field], object]] = {
    "do_sample": _flag,
    "temperature": _positive,
    "top_h": _between(0, 1, above=True),
    "top_k": _count,
    "top_p": _between(0, 1),
    "min_p": _between(0, 1),
    "typical_p": _between(0, 1, above=True),
    "epsilon_cutoff": _between(0, 1, below=True),
    "eta_cutoff": _between(0, 1, below=True),
    "sequence_bias": _biases,
    "encoder_repetition_penalty": _positive,
    "repetition_penalty": _positive,
    "no_repeat_ngram_size": _count,
    "encoder_no_repeat_ngram_size": _count,
    "bad_words_ids": _sequences,
    "min_length": _count,
    "min_new_tokens": _count,
    "max_length": _length,
    "max_new_tokens": _length,
    "forced_bos_token_id": _count,
    "forced_eos_token_ids": _ids,
    "exponential_decay_length_penalty": _decay,
    "suppress_tokens": _ids,
    "begin_suppress_tokens": _ids,
    "stop_strings": _strings,
}
