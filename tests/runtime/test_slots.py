"""Several requests in one call a segment, and a prompt whose first rows are in the caches already: as one alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from clasp_trt.bundle import Bundle
from clasp_trt.chain import names, port
from clasp_trt.runtime.backends.ort import OrtBackend
from clasp_trt.runtime.decoder import Decoder
from clasp_trt.runtime.text.prompt import Prompt
from clasp_trt.runtime.timing import Timer
from tests.prompts import prompt_of

Array = NDArray[Any]
TEXTS = ((3, 6), (9, 1), (5, 12), (4, 3))
"""Rows of text before and after the picture, of each request."""
VISUAL, TOKENS, PIVOTS = 16, 12, (4, 3, 2)
NOTHING = np.zeros(0, np.int64)
RUBBISH = 50.0


class Asked(NamedTuple):
    """A request: its prompt, and its visual tokens ``[1, 16, width]``."""

    prompt: Prompt
    visual: Array


class Filled(NamedTuple):
    """A prompt in its caches: how full they are in each segment, the token after it, and of each prune the saliency
    that it saw and what it kept."""

    filled: list[int]
    token: int
    saliency: list[Array]
    kept: list[list[int]]


class Slots:
    """The graphs of a bundle, with caches of ``slots`` requests in one array each, whose empty places hold rubbish."""

    def __init__(self, bundle: Bundle, slots: int) -> None:
        self._backend, self._bundle = OrtBackend(threads=1), bundle
        graphs, dims = bundle.manifest.graphs, bundle.manifest.model.decoder
        self._graphs = {each.name: self._backend.load(bundle.path(each.path), each) for each in graphs}
        self._inputs = {each.name: [taken.name for taken in each.inputs] for each in graphs}
        self.segments = bundle.manifest.segments
        self._caches = [
            {
                name: np.full((slots, dims.kv_heads, segment.capacity, dims.head_dim), RUBBISH, np.float32)
                for layer in range(segment.first_layer, segment.last_layer + 1)
                for name in port.caches(layer)
            }
            for segment in self.segments
        ]

    def prefill(self, slot: int, asked: Asked, first: int = 0) -> Filled:
        """Takes a prompt into ``slot``: its ``first`` rows, which are text, and then the others."""
        prompt, visual = asked
        embedded = {port.INPUT_IDS: prompt.input_ids[None], port.VISUAL: visual, port.VISUAL_INDEX: prompt.visual_index}
        hidden, here = self._run(names.EMBED, embedded)[port.HIDDEN], slice(slot, slot + 1)
        if first:
            state = {port.HIDDEN: hidden[:, :first], port.POSITION_IDS: prompt.positions[:, :first]}
            for number in range(len(self.segments)):
                state |= self._segment(number, state, here, np.array([0]))
        state = {
            port.HIDDEN: hidden[:, first:],
            port.POSITION_IDS: prompt.positions[:, first:],
            port.VISUAL_INDEX: prompt.visual_index - first,
            port.REFERENCE_INDEX: prompt.reference_index - first,
            **self._run(names.GRAM, {port.VISUAL: visual}),
        }
        filled, saliency, kept = list[int](), list[Array](), list[list[int]]()
        for number in range(len(self.segments)):
            filled.append(first + state[port.HIDDEN].shape[1])
            state |= self._segment(number, state, here, np.array([first]))
            if number < len(PIVOTS):
                saliency.append(state[port.SALIENCY])
                state |= self._run(names.prune(number), {**state, port.PIVOT_COUNT: np.array([PIVOTS[number]])})
                kept.append(state[port.KEPT][0].tolist())
        return Filled(filled, int(self._chosen(state)[0]), saliency, kept)

    def step(self, tokens: Array, positions: Array, filled: Array) -> Array:
        """A token of each slot at its position, all ``[slots]``, caches filled ``[slots, segments]``; the next."""
        width = self._bundle.manifest.model.decoder.width
        none = {port.VISUAL: np.zeros((1, 0, width), np.float32), port.VISUAL_INDEX: NOTHING}
        state = self._run(names.EMBED, {port.INPUT_IDS: tokens[:, None], **none})
        state[port.POSITION_IDS] = positions[:, None]
        for number in range(len(self.segments)):
            state |= self._segment(number, state, slice(None), filled[:, number])
        return self._chosen(state)

    def _chosen(self, state: Mapping[str, Array]) -> Array:
        found: Array = self._run(names.GREEDY, state)[port.TOKEN][:, 0]
        return found

    def _segment(self, number: int, state: Mapping[str, Array], slots: slice, write_index: Array) -> dict[str, Array]:
        length = write_index.max(keepdims=True) + state[port.HIDDEN].shape[1]
        views = {name: self._backend.upload(array[slots]) for name, array in self._caches[number].items()}
        given = {port.VISUAL_INDEX: NOTHING, port.REFERENCE_INDEX: NOTHING, **state}
        given |= {
            port.WRITE_INDEX: write_index,
            port.KV_LENGTH: length,
            port.SCORED: np.array([state[port.HIDDEN].shape[1] - 1]),
        }
        return self._run(self.segments[number].graph, given, views)

    def _run(self, name: str, given: Mapping[str, Array], caches: Mapping[str, Any] | None = None) -> dict[str, Array]:
        """A graph on those of ``given`` that it takes; what it gives, by the names of what takes it next."""
        caches = caches or {}
        places = {port.past(cache): tensor for cache, tensor in caches.items()}
        inputs = {each: self._backend.upload(given[each]) for each in self._inputs[name] if each not in places}
        found = self._graphs[name]({**inputs, **places}, {port.present(cache): at for cache, at in caches.items()})
        return {each.removesuffix(port.out("")): self._backend.download(value) for each, value in found.items()}


@pytest.fixture(scope="module")
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built()


@pytest.fixture(scope="module")
def requests(bundle: Bundle) -> list[Asked]:
    rng, dims = np.random.default_rng(0), bundle.manifest.model.decoder
    asked = []
    for before, after in TEXTS:
        ids = rng.integers(3, dims.vocab_size, before + VISUAL + after)
        prompt = prompt_of(ids, np.arange(before, before + VISUAL), np.arange(before + VISUAL, len(ids)))
        asked.append(Asked(prompt, rng.standard_normal((1, VISUAL, dims.width)).astype(np.float32)))
    return asked


@pytest.fixture(scope="module")
def alone(bundle: Bundle, requests: list[Asked]) -> list[list[int]]:
    """The tokens of each request by the runtime, one after another."""
    backend = OrtBackend(threads=1)
    decoder, answers = Decoder(bundle, backend), list[list[int]]()
    for prompt, visual in requests:
        sequence, scores, _ = decoder.prefill(prompt, backend.upload(visual), None, PIVOTS, Timer())
        answer = [int(backend.download(scores.logits).argmax())]
        while len(answer) < TOKENS:
            answer.append(int(backend.download(decoder.step({sequence: [answer[-1]]}).logits).argmax()))
        answers.append(answer)
    return answers


def test_requests_of_different_fill_decode_in_one_call_as_alone(
    bundle: Bundle, requests: list[Asked], alone: list[list[int]]
) -> None:
    """The second slot is idle: what it is given reaches no other."""
    idle = 1
    slots = Slots(bundle, len(requests) + 1)
    places = [slot for slot in range(len(requests) + 1) if slot != idle]
    filled, positions = (
        np.zeros((len(requests) + 1, len(slots.segments)), np.int64),
        np.zeros(len(requests) + 1, np.int64),
    )
    answers = np.zeros((len(requests) + 1, TOKENS), np.int64)
    for slot, asked in zip(places, requests, strict=True):
        found = slots.prefill(slot, asked)
        filled[slot], positions[slot], answers[slot, 0] = found.filled, asked.prompt.next_position, found.token
    for number in range(1, TOKENS):
        answers[:, number] = slots.step(answers[:, number - 1], positions, filled)
        positions, filled = positions + 1, filled + 1
    assert len({tuple(row) for row in filled.tolist()}) == len(filled), "each is as full as no other"
    assert answers[places].tolist() == alone


def test_a_prompt_in_two_pieces_is_pruned_and_answered_as_in_one(
    bundle: Bundle, requests: list[Asked], alone: list[list[int]]
) -> None:
    """All text before the picture, or a part of it, is in the caches already when the rest comes."""
    slots = Slots(bundle, 3)
    for asked, answer in zip(requests, alone, strict=True):
        text = int(asked.prompt.visual_index[0])
        whole, *pieces = (slots.prefill(slot, asked, first) for slot, first in enumerate((0, text, text - 2)))
        for found in pieces:
            assert (found.filled, found.token, found.kept) == (whole.filled, whole.token, whole.kept)
            for one, other in zip(found.saliency, whole.saliency, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5)
        tokens, filled = np.array([found.token for found in (whole, *pieces)]), np.array([whole.filled] * 3)
        found_answers = [tokens]
        for number in range(TOKENS - 1):
            positions = np.full(3, asked.prompt.next_position + number)
            found_answers.append(slots.step(found_answers[-1], positions, filled + number))
        assert np.stack(found_answers, axis=1).tolist() == [answer] * 3
