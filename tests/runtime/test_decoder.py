"""The chain of segments: room, caches, pruning between segments, one request after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError, PromptError, ShortageError
from clasp_trt.ops import select
from clasp_trt.runtime.backends.ort import OrtBackend
from clasp_trt.runtime.decoder import Decoder
from clasp_trt.runtime.result import Kept
from clasp_trt.runtime.slots import Sequence
from clasp_trt.runtime.text.prompt import Prompt
from clasp_trt.runtime.timing import Timer
from tests.mistakes import says
from tests.prompts import prompt_of

CONTEXT, TOKENS, WIDTH, VOCABULARY = 96, 16, 48, 512
COUNTS = (3, 2, 1)
Array = NDArray[Any]


class Setup:
    """A decoder with its backend, and requests for it."""

    def __init__(self, bundle: Bundle) -> None:
        self.backend = OrtBackend()
        self.schedule = bundle.manifest.schedule
        self.segments = bundle.manifest.segments
        self.decoder = Decoder(bundle, self.backend)

    def prefill(
        self, prompt: Prompt, visual: Array | None, saliency: Array | None = None
    ) -> tuple[Sequence, Array, tuple[Kept, ...]]:
        upload = self.backend.upload
        sequence, scores, kept = self.decoder.prefill(
            prompt,
            None if visual is None else upload(visual),
            None if saliency is None else upload(saliency),
            COUNTS,
            Timer(),
        )
        return sequence, self.backend.download(scores.logits)[0, 0].copy(), kept

    def step(self, sequence: Sequence, token: int) -> Array:
        row: Array = self.backend.download(self.decoder.step({sequence: [token]}).logits)[0, 0].copy()
        return row

    def answer(self, prompt: Prompt, visual: Array | None, tokens: list[int], saliency: Array | None = None) -> Array:
        """The logits of the prompt and of each token after it."""
        sequence, first, _ = self.prefill(prompt, visual, saliency)
        return np.stack([first, *(self.step(sequence, token) for token in tokens)])


@pytest.fixture(scope="module")
def pruned(built: Callable[..., Bundle]) -> Setup:
    return Setup(built())


@pytest.fixture(scope="module")
def whole(built: Callable[..., Bundle]) -> Setup:
    return Setup(built(prune_at="none"))


@pytest.fixture(scope="module")
def early(built: Callable[..., Bundle]) -> Setup:
    return Setup(built(prune_at="encoder"))


def _text(*ids: int) -> Prompt:
    return prompt_of(np.array(ids))


def _with_image(before: int = 2, after: int = 4) -> Prompt:
    ids = np.r_[np.arange(before) + 40, np.full(TOKENS, 502), np.arange(after) + 60]
    return prompt_of(ids, np.arange(before, before + TOKENS), np.arange(before + TOKENS, len(ids)))


def _visual(seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((1, TOKENS, WIDTH)).astype(np.float32)


def _close(found: Array, expected: Array) -> None:
    # 4 layers in float32, of which each may lose a few of 24 bits to another order of summation
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["whole", "early"])
def test_steps_continue_a_prefill(name: str, request: pytest.FixtureRequest) -> None:
    """At the positions of the unpruned sequence, however few rows the caches hold."""
    setup: Setup = request.getfixturevalue(name)
    saliency = np.random.default_rng(2).random((1, TOKENS)).astype(np.float32)
    long = _with_image(after=9)
    split = prompt_of(long.input_ids[:-5], long.visual_index, long.reference_index[:-5])
    expected = setup.prefill(long, _visual(), saliency)[1]
    _close(setup.answer(split, _visual(), long.input_ids[-5:].tolist(), saliency)[-1], expected)


@pytest.mark.parametrize("name", ["pruned", "whole", "early"])
def test_text_alone_is_never_pruned(name: str, request: pytest.FixtureRequest, whole: Setup) -> None:
    setup: Setup = request.getfixturevalue(name)
    ids = [1, 40, 50, 60, 70, 80, 90]
    assert setup.prefill(_text(*ids), None)[2] == ()
    _close(setup.answer(_text(*ids[:3]), None, ids[3:])[-1], whole.prefill(_text(*ids), None)[1])


def test_each_stage_keeps_some_of_what_the_one_before_kept(pruned: Setup) -> None:
    _, _, kept = pruned.prefill(_with_image(), _visual())
    assert [stage.after_layer for stage in kept] == [stage.after_layer for stage in pruned.schedule.stages]
    assert [len(stage.indices) for stage in kept] == list(pruned.schedule.keeps)
    assert [int(stage.is_pivot.sum()) for stage in kept] == list(COUNTS)
    alive = set(range(TOKENS))
    for stage in kept:
        assert (np.diff(stage.indices) > 0).all()
        assert set(stage.indices.tolist()) <= alive
        alive = set(stage.indices.tolist())


def test_pruning_before_the_decoder_follows_the_cls_saliency(early: Setup) -> None:
    saliency = np.random.default_rng(1).random((1, TOKENS)).astype(np.float32)
    visual = _visual(1)
    _, _, kept = early.prefill(_with_image(), visual, saliency)
    expected, is_pivot = select(saliency, visual, [COUNTS[0]], early.schedule.keeps[0])
    assert [stage.after_layer for stage in kept] == [-1]
    assert kept[0].indices.tolist() == expected[0].tolist()
    assert kept[0].is_pivot.tolist() == is_pivot[0].tolist()


def test_what_was_pruned_before_the_decoder_has_no_say(early: Setup) -> None:
    saliency = np.random.default_rng(1).random((1, TOKENS)).astype(np.float32)
    visual, prompt = _visual(1), _with_image()
    _, logits, kept = early.prefill(prompt, visual, saliency)
    dropped = np.setdiff1d(np.arange(TOKENS), kept[0].indices)
    changed = visual.copy()
    changed[0, dropped] *= np.float32(2)  # the direction, and so the choice, stays
    _, again, kept_again = early.prefill(prompt, changed, saliency)
    np.testing.assert_array_equal(kept[0].indices, kept_again[0].indices)
    np.testing.assert_array_equal(logits, again)


def test_rotary_positions_are_the_prompts_own(whole: Setup) -> None:
    """Attention knows distances alone, so a prompt that starts at 9 gives the same; one torn apart does not."""
    plain, shifted = _text(1, 40, 50, 60), prompt_of(np.array([1, 40, 50, 60]), start=9)
    expected = whole.answer(plain, None, [70, 80])
    _close(whole.answer(shifted, None, [70, 80]), expected)
    assert whole.prefill(shifted, None)[0].next_position == 13
    torn = replace(plain, next_position=30)
    assert np.abs(whole.answer(torn, None, [70, 80]) - expected)[1:].max() > 1e-3 * np.abs(expected).max()


def test_a_request_after_another_is_as_on_a_fresh_decoder(built: Callable[..., Bundle], pruned: Setup) -> None:
    fresh = Setup(built())
    expected = fresh.answer(_with_image(), _visual(), [7, 8, 9])
    pruned.answer(_with_image(after=12), _visual(5), list(range(40, 50)))
    pruned.answer(_text(1, 2, 3), None, [4, 5])
    np.testing.assert_array_equal(pruned.answer(_with_image(), _visual(), [7, 8, 9]), expected)


def test_an_overtaken_request_cannot_go_on(pruned: Setup) -> None:
    """Its caches hold another request: an answer would be wrong without anybody noticing."""
    first, _, _ = pruned.prefill(_with_image(), _visual())
    pruned.step(first, 7)
    second, _, _ = pruned.prefill(_text(1, 2), None)
    with pytest.raises(RuntimeError, match="another request took over the caches"):
        pruned.step(first, 8)
    pruned.step(second, 8)


def test_capacity_by_segment(pruned: Setup) -> None:
    kept = [TOKENS, *pruned.schedule.keeps]
    assert [segment.capacity for segment in pruned.segments] == [CONTEXT - TOKENS + keep for keep in kept]


@pytest.mark.parametrize("name", ["pruned", "whole", "early"])
def test_room(name: str, request: pytest.FixtureRequest) -> None:
    setup: Setup = request.getfixturevalue(name)
    prompt = _with_image()
    # an image takes the same from every segment: what a segment lacks in slots was pruned before it
    assert setup.decoder.room(prompt) == CONTEXT - len(prompt.input_ids)
    # text has no visual tokens to lose, so the smallest cache bounds it
    assert setup.decoder.room(_text(1, 2, 3)) == min(segment.capacity for segment in setup.segments) - 3


@pytest.mark.parametrize("name", ["pruned", "whole"])
def test_the_context_can_be_filled_to_the_last_slot(name: str, request: pytest.FixtureRequest, whole: Setup) -> None:
    setup: Setup = request.getfixturevalue(name)
    for prompt, visual in ((_with_image(), _visual()), (_text(1, 2, 3), None)):
        tokens = [(7 * n) % VOCABULARY for n in range(setup.decoder.room(prompt))]
        logits = setup.answer(prompt, visual, tokens)
        assert np.isfinite(logits).all()
    # text again, whose last token sits in the last slot, against one prefill of a decoder with more slots
    if setup is not whole:
        _close(logits[-1], whole.prefill(_text(1, 2, 3, *tokens), None)[1])


def test_a_prompt_without_room_for_an_answer(pruned: Setup) -> None:
    fits, full, over = (_with_image(after=CONTEXT - TOKENS - 2 + more) for more in (-1, 0, 5))
    assert pruned.decoder.room(fits) == 1
    pruned.prefill(fits, _visual())
    for prompt, excess in ((full, 1), (over, 6)):
        with pytest.raises(PromptError, match=rf"takes {len(prompt.input_ids)} positions.*by {excess} tokens"):
            pruned.prefill(prompt, _visual())


@pytest.mark.parametrize("rows", [7, *(pytest.param(rows, marks=pytest.mark.full) for rows in (4, CONTEXT))])
@pytest.mark.parametrize("name", ["pruned", "whole", "early"])
def test_a_prompt_in_chunks_is_the_prompt_at_once(
    name: str, rows: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks take every row once, none more than ``rows``; the answer that follows reads what all of them cached."""
    setup: Setup = request.getfixturevalue(name)
    saliency = np.random.default_rng(2).random((1, TOKENS)).astype(np.float32)
    prompt, cut = _with_image(after=9), list[tuple[int, int]]()
    monkeypatch.setattr(setup.backend, "prefill_rows", None)
    expected = setup.answer(prompt, _visual(), [7, 8, 9], saliency)

    def rows_of(tensor: Any, start: int, stop: int) -> Any:
        cut.append((start, stop))
        return OrtBackend.rows(setup.backend, tensor, start, stop)

    monkeypatch.setattr(setup.backend, "rows", rows_of)
    monkeypatch.setattr(setup.backend, "prefill_rows", rows)
    _close(setup.answer(prompt, _visual(), [7, 8, 9], saliency), expected)
    left = len(prompt.input_ids) - TOKENS + min([TOKENS, *setup.schedule.keeps])
    taken = sorted({*cut}) or [(0, left)]
    assert [row for start, stop in taken for row in range(start, stop)] == list(range(left))
    assert max(stop - start for start, stop in taken) <= rows


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("wrong", [-1, TOKENS])
def test_a_graph_that_keeps_what_never_came(
    pruned: Setup, monkeypatch: pytest.MonkeyPatch, number: int, wrong: int
) -> None:
    """A forged graph may: its ports are as the manifest states them."""
    prunes = [*pruned.decoder._prunes]
    prune = prunes[number]

    def forged(inputs: Any, into: Any) -> Any:
        outputs = prune(inputs, into)
        kept = pruned.backend.download(outputs["kept"])
        kept[0, -1] = wrong
        return {**outputs, "kept": pruned.backend.upload(kept)}

    prunes[number] = forged
    monkeypatch.setattr(pruned.decoder, "_prunes", prunes)
    with pytest.raises(BackendError) as error:
        pruned.prefill(_with_image(), _visual())
    says(error, f"after layer {pruned.schedule.stages[number].after_layer}", [TOKENS, *pruned.schedule.keeps][number])


def test_caches_beyond_any_memory(built: Callable[..., Bundle]) -> None:
    """All of them together are named, and not the one that failed."""
    bundle = built()
    huge = replace(
        bundle.manifest,
        segments=tuple(replace(each, capacity=10**12 + each.capacity) for each in bundle.manifest.segments),
    )
    dims = bundle.manifest.model.decoder
    needed = 2 * dims.layers * dims.kv_heads * dims.head_dim * 4 * 10**12
    with pytest.raises(ShortageError) as error:
        Decoder(Bundle(bundle.root, huge), OrtBackend())
    says(error, f"context of {CONTEXT}", f"{needed / 1e9:,.0f} GB")


def test_steps_are_timed(pruned: Setup) -> None:
    timer, upload = Timer(), pruned.backend.upload
    pruned.decoder.prefill(_with_image(), upload(_visual()), None, COUNTS, timer)
    expected = ["embed", "gram", "segment_0", "prune_0", "segment_1", "prune_1", "segment_2", "prune_2", "segment_3"]
    assert list(timer.milliseconds) == expected
    assert 0 < sum(timer.milliseconds.values()) <= timer.elapsed_ms()


@pytest.mark.full
def test_half_precision(built: Callable[..., Bundle], pruned: Setup) -> None:
    """The same selections, and logits that differ by what halves of 11 bits lose in four layers."""
    half = Setup(built(precision="fp16"))
    visual = _visual().astype(np.float16)
    _, found, kept = half.prefill(_with_image(), visual)
    _, expected, kept_single = pruned.prefill(_with_image(), visual.astype(np.float32))
    for one, other in zip(kept, kept_single, strict=True):
        np.testing.assert_array_equal(one.indices, other.indices)
    assert np.abs(found - expected).max() <= 2.0**-11 * 16 * np.abs(expected).max()
