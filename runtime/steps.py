"""The steps from a request to its answer, which a pipeline and an engine have in common: route, preprocess and tokenise
on the host; vision, fuse and prefill with pruning; then token after token, of all requests that go on at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
from clasp_trt.runtime.fitting import check_clips, check_images, check_tokens
from clasp_trt.runtime.logits.constraint import Constraints
from clasp_trt.runtime.logits.processors import Request, processors
from clasp_trt.runtime.logits.warpers import log_probability
from clasp_trt.runtime.manner import Manner
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
        check_images(len(images), self._bundle)
        check_clips(len(clips), self._bundle)
        return asked

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
            generation, seed=asked.seed, prompt=known, processors=processors(generation, wanted),
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
        )

    def begin(self, draft: Draft, before: Callable[[], None] = nothing) -> Event:
        """Runs every graph up to the first token. ``before`` is asked before each, and may raise to end it all, as the
        request itself may. After an error, and where the first event is the last, it has no slot."""
        manner, tokens, timer = draft.manner, draft.tokens, draft.timer

        def ask() -> None:
            before()
            if draft.asked.cancelled():
                raise CancelledError

        timer.before = ask
        try:
            visual = self.eyes.look(draft.pictures, manner.alpha(draft.route.category), timer)
            arrived = len(tokens.visual_index)
            keeps = () if visual.tokens is None else self._bundle.manifest.schedule.keeps_of(arrived)
            counts = manner.policy.pivot_counts(draft.route.category, keeps)
            draft.sequence, scores, draft.kept = self.decoder.prefill(
                tokens, visual.tokens, visual.saliency, counts, timer, manner.method, deepstack=visual.deepstack
            )
        except CancelledError:
            return draft.cancel()
        draft.pictures = []  # they are in the caches, and may be large
        found = self._chosen([draft], scores, [0])[0]
        timer.milliseconds["ttft"] = timer.elapsed_ms()
        if isinstance(found, ClaspError):
            raise found
        return found

    def go_on(self, drafts: Sequence[Draft]) -> list[Event | ClaspError]:
        """The next event of each of ``drafts``, which are all that have a slot: another token, or that it was
        cancelled. What is wrong with one alone is its own error, in its place. Those that ended have no slot any more.
        """
        found: dict[Draft, Event | ClaspError] = {}
        for draft in drafts:
            if draft.asked.cancelled():
                found[draft] = draft.cancel()
                self.leave(draft)
        going = [draft for draft in drafts if draft not in found]
        if going:
            timer = Timer()
            with timer.step("decode"):
                scores = self.decoder.step({_slotted(draft): draft.ids[-1] for draft in going})
                slots = [_slotted(draft).slot for draft in going]
                found.update(zip(going, self._chosen(going, scores, slots), strict=True))
            for draft in going:
                draft.decoding.extend(timer.spans)
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

    def _chosen(self, drafts: Sequence[Draft], scores: Scores, rows: Sequence[int]) -> list[Event | ClaspError]:
        """The event of each draft by its row of ``scores``. The next token is found where the logits are if possible,
        else from the logits."""
        seen = scores.choice is not None and not all(map(_needs_logits, drafts))
        choices = self.backend.download(scores.choice)[:, 0] if seen else None
        needs = [choices is None or _needs_logits(draft) for draft in drafts]
        logits = self.backend.download(scores.logits)[:, 0] if any(needs) else None
        found: list[Event | ClaspError] = []
        for draft, row, needed in zip(drafts, rows, needs, strict=True):
            try:
                if needed:
                    assert logits is not None
                    event = draft.say(*_sampled(draft, logits[row]))
                else:
                    assert choices is not None
                    if choices[row] < 0:
                        raise OverflowedError("logits that are not finite")
                    event = draft.say(int(choices[row]), None)
            except ClaspError as error:
                self.leave(draft, spoiled=isinstance(error, OverflowedError))
                found.append(error)
                continue
            if event.finish_reason is not None:
                self.leave(draft)
            found.append(event)
        return found


def _needs_logits(draft: Draft) -> bool:
    return draft.asked.logprobs or not draft.sampler.argmax


def _sampled(draft: Draft, logits: NDArray[Any]) -> tuple[int, float | None]:
    token = draft.sampler.next(logits)
    return token, log_probability(logits, token) if draft.asked.logprobs else None


def _slotted(draft: Draft) -> Slotted:
    assert draft.sequence is not None, "it has begun"
    return draft.sequence
