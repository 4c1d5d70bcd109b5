"""The steps from a request to its answer, which a pipeline and an engine have in common: route, preprocess and tokenise
on the host; vision, fuse and prefill with pruning; then token after token, of all requests that go on at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.bundle import Bundle
from clasp_trt.errors import ClaspError
from clasp_trt.runtime.asked import Asked, request
from clasp_trt.runtime.backends.interface import Backend, Tensor
from clasp_trt.runtime.decoder import Decoder, Scores
from clasp_trt.runtime.draft import CancelledError, Draft
from clasp_trt.runtime.encoded import Encoded, Picture, Shown, Video
from clasp_trt.runtime.event import Event
from clasp_trt.runtime.eyes import Eyes
from clasp_trt.runtime.fitting import check_clips, check_images, check_proposed, check_tokens
from clasp_trt.runtime.logits.constraint import Constraints
from clasp_trt.runtime.logits.processors import Process, Request, answer_penalty, processors
from clasp_trt.runtime.logits.warpers import likeliest, log_probability
from clasp_trt.runtime.manner import Manner
from clasp_trt.runtime.proposing.lookup import Lookup
from clasp_trt.runtime.sampling import OverflowedError, Sampler
from clasp_trt.runtime.slots import Sequence as Slotted
from clasp_trt.runtime.text.messages import Dialogue
from clasp_trt.runtime.text.prompt import PromptReader
from clasp_trt.runtime.text.wording import Wording
from clasp_trt.runtime.timing import Timer, nothing


class Steps:
    """The graphs of a bundle on ``backend``, with caches for ``slots`` requests. See
    :class:`clasp_trt.runtime.pipeline.Pipeline` for the rest."""

    def __init__(
        self, bundle: Bundle, backend: Backend[Any], *, slots: int = 1, image_cache_bytes: int, reuse_prompts: bool
    ) -> None:
        self._bundle, self._model = bundle, bundle.manifest.model
        self.backend: Backend[Tensor] = backend
        self.prompts = PromptReader(bundle)
        self.eyes = Eyes(bundle, backend, image_cache_bytes)
        self.decoder = Decoder(bundle, backend, slots=slots, reuses=reuse_prompts)
        stops, vocabulary = self._model.stop_token_ids, self._model.decoder.vocab_size
        self._constraints = Constraints(self.prompts.tokenizer, stops, vocabulary)

    def asked(
        self,
        prompt: str | Dialogue,
        images: Sequence[Picture],
        clips: Sequence[Video],
        wishes: Mapping[str, Any],
    ) -> Asked:
        """What is asked for, as far as it can be told at once. Raises :class:`PromptError` or :class:`ImageError`."""
        asked = request(prompt, self._bundle.generation, self._constraints, **wishes)
        self.check(images, clips)
        check_proposed(asked.lookup or asked.draft, self._bundle)
        return asked

    def check(self, images: Sequence[Picture], clips: Sequence[Video]) -> None:
        """Raises :class:`ImageError` for more pictures or clips than the bundle takes."""
        check_images(len(images), self._bundle)
        check_clips(len(clips), self._bundle)

    def draft(self, images: Sequence[Picture], clips: Sequence[Video], asked: Asked, manner: Manner) -> Draft:
        """All of a request that the host does before the first graph. Raises :class:`ClaspError` for what is wrong with
        it."""
        timer, generation = Timer(), asked.generation
        with timer.step("route"):
            route = manner.route(asked.text, asked.category)
        pictures = [self.eyes.see(image, timer, several=len(images) > 1) for image in images]
        watched = [self.eyes.watch(clip, timer) for clip in clips]
        shown = [*(Shown((picture,), picture.blocks) for picture in pictures), *watched]
        with timer.step("tokenize"):
            tokens = self.prompts.read(
                asked.prompt, *(picture.blocks for picture in pictures), clips=[each.blocks for each in watched]
            )
            check_tokens(len(tokens.visual_index), self._bundle)
            room = self.decoder.room(tokens, manner.method)
            self.backend.check_prompt(len(tokens.input_ids) - len(tokens.visual_index))
        stops = self._model.stop_token_ids
        known = tokens.known(self._model.decoder.vocab_size)
        wanted = Request(known, stops, asked.limit(len(known)))
        sampler = Sampler(
            generation, seed=asked.seed, prompt=known, processors=_processors(asked, wanted),
            constraint=asked.constraint,
        )  # fmt: skip
        strings = () if asked.ignore_stop else generation.stop_strings
        return Draft(
            asked=asked,
            route=route,
            manner=manner,
            pictures=[step for number in tokens.order for step in shown[number].steps],
            reused_images=sum(
                isinstance(taken, Encoded) and taken is not given for given, taken in zip(images, pictures, strict=True)
            ),
            tokens=tokens,
            sampler=sampler,
            wording=Wording(self.prompts.tokenizer, strings, tokens.input_ids.tolist()),
            limit=wanted.limit,
            room=room,
            stops=stops,
            timer=timer,
            proposer=Lookup(tokens.text, asked.lookup) if asked.lookup else None,
        )

    def begin(self, draft: Draft, before: Callable[[], None] = nothing) -> Event:
        """Runs every graph up to the first token. ``before`` is asked before each, and may raise to end it all, as the
        request itself may. After an error, and where the first event is the last, it has no slot."""
        try:
            scores = self.prefill(draft, before)
        except CancelledError:
            return draft.cancel()
        (found,) = self._chosen({draft: draft.tokens.input_ids[-1:].tolist()}, scores, {draft: 0})[draft]
        draft.timer.milliseconds["ttft"] = draft.timer.elapsed_ms()
        if isinstance(found, ClaspError):
            raise found
        return found

    def prefill(self, draft: Draft, before: Callable[[], None] = nothing) -> Scores:
        """The same up to the scores of the first token. Raises :class:`CancelledError` for a request that was."""
        manner, tokens, timer = draft.manner, draft.tokens, draft.timer

        def ask() -> None:
            before()
            if draft.asked.cancelled():
                raise CancelledError

        timer.before = ask
        visual = self.eyes.look(draft.pictures, manner.alpha(draft.route.category), timer)
        arrived = tokens.visual_tokens
        if visual.kept is not None:
            tokens = tokens.keeping(visual.kept)
        keeps = () if visual.tokens is None else self._bundle.manifest.schedule.keeps_of(arrived)
        counts = manner.policy.pivot_counts(draft.route.category, keeps)
        draft.sequence, scores, draft.kept = self.decoder.prefill(
            tokens, visual.tokens, visual.saliency, counts, timer, manner.method, deepstack=visual.deepstack
        )
        draft.pictures = []  # they are in the caches, and may be large
        return scores

    def go_on(self, drafts: Sequence[Draft]) -> list[list[Event | ClaspError]]:
        """The next events of each of ``drafts``, which are all that have a slot: another token, some where they were
        proposed, or that it was cancelled. What is wrong with one alone is its own error, in its place, after which
        nothing comes. Those that ended have no slot any more.
        """
        found: dict[Draft, list[Event | ClaspError]] = {}
        for draft in drafts:
            if draft.asked.cancelled():
                found[draft] = [draft.cancel()]
                self.leave(draft)
        going = [draft for draft in drafts if draft not in found]
        if going:
            timer = Timer()
            with timer.step("decode"):
                widest = self.decoder.widest_step()
                rows = {draft: draft.next_rows(widest) for draft in going}
                scores = self.decoder.step({_slotted(draft): ids for draft, ids in rows.items()})
                found.update(self._chosen(rows, scores, {draft: _slotted(draft).slot for draft in going}))
            for draft in going:
                said = sum(isinstance(each, Event) for each in found[draft])
                draft.stepped(timer.spans[0], len(rows[draft]), said)
        return [found[draft] for draft in drafts]

    def leave(self, draft: Draft, *, spoiled: bool = False) -> None:
        """Gives the slot of ``draft`` back, if it has one."""
        if draft.sequence is not None:
            self.decoder.slots.leave(draft.sequence, spoiled=spoiled)

    def release(self) -> None:
        """Lets pictures, caches and backend go."""
        self.eyes.forget()
        self.decoder.slots.release()
        self.backend.close()

    def _chosen(
        self, rows: Mapping[Draft, Sequence[int]], scores: Scores, slots: Mapping[Draft, int]
    ) -> dict[Draft, list[Event | ClaspError]]:
        """The events of each draft by what its slot in ``scores`` says of its ``rows``. The next token is found where
        the logits are if possible, else from the logits."""
        seen = scores.choice is not None and not all(map(_needs_logits, rows))
        choices = self.backend.download(scores.choice) if seen else None
        needs = {draft: choices is None or _needs_logits(draft) for draft in rows}
        logits = self.backend.download(scores.logits) if any(needs.values()) else None
        found: dict[Draft, list[Event | ClaspError]] = {}
        for draft, ids in rows.items():
            known = logits if needs[draft] else choices
            assert known is not None
            found[draft] = self._verified(draft, ids, known[slots[draft], : len(ids)])
        return found

    def _verified(self, draft: Draft, ids: Sequence[int], known: NDArray[Any]) -> list[Event | ClaspError]:
        """The events of a draft by what is known after each of ``ids``: logits ``[ids, vocabulary]``, or the most
        likely tokens ``[ids]``.

        A row says what follows if the tokens before it are those that were chosen: so each token is chosen by the
        logits, the settings and the draw that it would have been chosen by alone. Of proposals that are no draws
        themselves this is the rule of Leviathan et al. (2023): a token stays with its own probability, and another
        comes by theirs.
        """
        found = list[Event | ClaspError]()
        try:
            for row, following in zip(known, [*ids[1:], None], strict=True):
                event = draft.say(*_next(draft, row))
                if draft.asked.top_logprobs:
                    event = replace(event, top=likeliest(row, draft.asked.top_logprobs))
                found.append(event)
                if event.finish_reason is not None or event.token != following:
                    break
            sound = _finite(wrong := known[len(found) :])  # of numbers that are none some would stay in the caches
            if not sound and draft.finish_reason is None:
                raise OverflowedError(f"logits that are not finite after {len(wrong)} proposed tokens")
        except ClaspError as error:
            self.leave(draft, spoiled=isinstance(error, OverflowedError))
            return [*found, error]
        _slotted(draft).forget(len(ids) - len(found))
        if draft.finish_reason is not None:
            self.leave(draft, spoiled=not sound)
        return found


def _processors(asked: Asked, wanted: Request) -> list[Process]:
    found = processors(asked.generation, wanted)
    if asked.presence_penalty or asked.frequency_penalty:
        found.append(answer_penalty(asked.presence_penalty, asked.frequency_penalty, len(wanted.prompt)))
    return found


def _needs_logits(draft: Draft) -> bool:
    return draft.asked.logprobs or not draft.sampler.argmax


def _next(draft: Draft, known: NDArray[Any]) -> tuple[int, float | None]:
    """The token by its logits, or as it was found."""
    if known.ndim:
        token = draft.sampler.next(known)
        return token, log_probability(known, token) if draft.asked.logprobs else None
    if known < 0:
        raise OverflowedError("logits that are not finite")
    return int(known), None


def _finite(known: NDArray[Any]) -> bool:
    """Of rows of logits, or of tokens that were found."""
    return bool(np.isfinite(known.max(axis=-1)).all() if known.ndim == 2 else (known >= 0).all())


def _slotted(draft: Draft) -> Slotted:
    assert draft.sequence is not None, "it has begun"
    return draft.sequence
