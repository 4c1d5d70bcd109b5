"""The decoder: a chain of segments with a KV cache each, pruned between segments during prefill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from clasp_trt.bundle import Bundle
from clasp_trt.chain import names, port
from clasp_trt.errors import BackendError, PromptError
from clasp_trt.methods import DEFAULT, Method, Raters
from clasp_trt.runtime.backends.interface import Backend, Runner, Tensor
from clasp_trt.runtime.caches import Bound, Caches
from clasp_trt.runtime.host_prune import HostPrune
from clasp_trt.runtime.result import Kept
from clasp_trt.runtime.slots import Sequence, Slots
from clasp_trt.runtime.text.prompt import Prompt
from clasp_trt.runtime.text.visible import Sight
from clasp_trt.runtime.timing import Timer

_Caches = Seq[Bound]
"""Those of the slots that a call is for, by segment."""


class Scores(NamedTuple):
    """What is known of the token after each row of each slot: ``logits`` ``[slots, rows, vocabulary]``, and ``choice``
    ``[slots, rows]``, the most likely token or -1 if a logit is not finite; None where the host looks for it. They hold
    until the next step. Of a prompt there is one row, its last."""

    logits: Tensor
    choice: Tensor | None


class _Stage(NamedTuple):
    """A prune that was asked for: ``kept`` and ``is_pivot`` ``[1, keep]`` are still on the device."""

    after_layer: int
    kept: Tensor
    is_pivot: Tensor


class _Places(NamedTuple):
    """What a step of so many slots and rows reads, and what changes from one to the next: it lies in the same tensors,
    so that a backend may record a step. ``write_index`` and ``visible`` are by segment; ``scored`` is all rows."""

    token: Tensor
    scored: Tensor
    position: Tensor
    write_index: list[Tensor]
    visible: list[Tensor]


class Decoder:
    """Runs the prefill of one request at a time, and decode steps of all that have a slot; the caches are allocated
    once, for ``slots`` requests.

    With ``reuses``, a prompt that begins like the one before starts after what both have before their first image:
    there no row is ever dropped, and none sees what comes later, so that its keys and values are in every cache. The
    one before is that which had the slot.
    """

    def __init__(self, bundle: Bundle, backend: Backend[Any], *, slots: int = 1, reuses: bool = False) -> None:
        manifest = bundle.manifest
        self._backend: Backend[Tensor] = backend
        self._schedule, self._segments = manifest.schedule, manifest.segments
        self._stages, self._varies = self._schedule.stages, manifest.model.varies
        self._embed = _load(bundle, backend, names.EMBED)
        self._form = manifest.method
        has_gram = any(graph.name == names.GRAM for graph in manifest.graphs)
        self._gram = _load(bundle, backend, names.GRAM) if has_gram else None
        self._prunes = [_load(bundle, backend, names.prune(number)) for number in range(len(self._stages))]
        self._runners = [_load(bundle, backend, segment.graph) for segment in self._segments]
        self._stage_after = {stage.after_layer: number for number, stage in enumerate(self._stages)}
        pruned = [n for n, segment in enumerate(self._segments) if segment.last_layer in self._stage_after]
        self._tail = max(pruned, default=-1) + 1  # the first of the segments that no prune follows any more
        has_greedy = any(graph.name == names.GREEDY for graph in manifest.graphs)
        self._greedy = _load(bundle, backend, names.GREEDY) if backend.chooses and has_greedy else None
        dims, dtype = manifest.model.decoder, bundle.graph(names.EMBED).outputs[0].dtype
        self._no_visual = backend.zeros((1, 0, dims.width), dtype)
        self._no_index = backend.upload(np.zeros(0, dtype=np.int64))
        self._taken = {graph.name: {each.name for each in graph.inputs} for graph in manifest.graphs}
        self._no_deepstack = backend.zeros((dims.deepstack, 0, dims.width), dtype)
        self._axes = () if dims.axes == 1 else (dims.axes,)
        self._sees, self._window = dims.visible != "causal", dims.window
        self._vocabulary = dims.vocab_size
        self._caches = Caches(bundle, backend, slots)
        self.slots = Slots(self._caches)
        self._places = {(count, 1): self._make_places(count, 1) for count in range(1, slots + 1)}
        self._most_rows = manifest.step_rows
        # graphs from before slots rank visual tokens by all rows from the first on
        self._reuses = reuses and dims.visible == "causal" and manifest.has_slots

    def room(self, prompt: Prompt, method: Method = DEFAULT) -> int:
        """How many tokens :meth:`step` can append to ``prompt``. Raises :class:`PromptError` if it fills a cache."""
        length, visual = len(prompt.input_ids), self._schedule.entering(prompt.visual_tokens)
        rows = self._rows(prompt, method)
        room = min(segment.capacity - count for segment, count in zip(self._segments, rows, strict=True))
        if room < 1:
            keeps = (
                f", {visual} of them for visual tokens that method {method.name} never drops,"
                if (visual and not method.prunes)
                else ""
            )
            raise PromptError(
                f"the prompt takes {length} positions{keeps} and leaves no room for an answer; "
                f"shorten it by {1 - room} tokens, or build with a larger --max-context"
            )
        return room

    def prefill(
        self,
        prompt: Prompt,
        visual: Tensor | None,
        cls_saliency: Tensor | None,
        pivot_counts: tuple[int, ...],
        timer: Timer,
        method: Method = DEFAULT,
        *,
        deepstack: Tensor | None = None,
    ) -> tuple[Sequence, Scores, tuple[Kept, ...]]:
        """Runs the prompt; returns the sequence, the scores after its last row, and what each stage kept.

        ``visual`` is ``[1, tokens, width]`` or None without an image; ``cls_saliency`` ``[1, tokens]`` serves pruning
        before the decoder and methods that ask for it; ``deepstack`` ``[layers, tokens, width]`` is added to the visual
        tokens after each of the first layers, in models that have it. A method that the prune graphs are not made for
        chooses on the host. Where no slot is free, it takes that of the last sequence. Raises :class:`PromptError` if
        the prompt does not fit.
        """
        self.room(prompt, method)
        slot = self.slots.take()
        filled, whole = self._rows(prompt, method), prompt
        start = self.slots.known(slot, prompt) if self._reuses else 0
        caches, prompt = self._caches.bound(slot, slot + 1), prompt.after(start)
        upload = self._backend.upload
        state: dict[str, Tensor] = {
            port.POSITION_IDS: upload(prompt.position_ids),
            port.VISUAL_INDEX: upload(prompt.visual_index) if visual is not None else self._no_index,
            port.REFERENCE_INDEX: upload(prompt.reference_index) if visual is not None else self._no_index,
            port.DEEPSTACK: self._no_deepstack if deepstack is None else deepstack,
        }
        if cls_saliency is not None:
            state[port.CLS_SALIENCY] = cls_saliency
        if prompt.visible is not None:
            state[port.VISIBLE] = upload(prompt.visible)
        with timer.step(names.EMBED):
            ids = prompt.known(self._vocabulary)
            state[port.HIDDEN] = self._embed_rows(ids, visual, state[port.VISUAL_INDEX])
        if visual is not None and self._gram is not None:
            with timer.step(names.GRAM):
                state[port.GRAM] = self._gram({port.VISUAL: visual}, {})[port.GRAM]
        if visual is not None and method.raters is not None:
            with timer.step("raters"):
                state[port.REFERENCE_INDEX] = self._rating(method.raters, prompt, state[port.HIDDEN])
        compiled = method.form == self._form
        prunes = self._prunes if compiled else self._host_prunes(method, prompt, cls_saliency, pivot_counts)
        keeps = self._schedule.keeps_of(prompt.visual_tokens)
        sequence, stages = Sequence(prompt.next_position, slot, filled, start), list[_Stage]()
        if visual is not None and -1 in self._stage_after:
            state[port.SALIENCY] = cls_saliency
            stages.append(self._prune(-1, prunes, state, keeps, pivot_counts, timer))
        for number, segment in enumerate(self._segments[: self._tail]):
            with timer.step(segment.graph):
                outputs = self._fill(number, caches, state, start, filled[number])
            state[port.HIDDEN] = outputs[port.HIDDEN_OUT]
            if visual is not None and segment.last_layer in self._stage_after:
                if port.SALIENCY in outputs:
                    state[port.SALIENCY] = outputs[port.SALIENCY]
                stages.append(self._prune(segment.last_layer, prunes, state, keeps, pivot_counts, timer))
        logits = self._prefill_tail(caches, state, start, filled[-1], timer)
        scores = self._scores(logits)
        # last, since this waits for the device: until here it was never asked for anything
        kept = self._fetch(stages)
        if self._sees:
            sequence.sights = tuple(self._sight(prompt, segment.first_layer, kept) for segment in self._segments)
        self.slots.join(sequence, whole.text_before)
        return sequence, scores, self._of_pictures(prompt, kept)

    def widest_step(self) -> int:
        """How many rows the next step may have: what graphs take, and the fullest cache of any that has a slot."""
        pairs = (zip(self._segments, each.filled, strict=True) for each in self.slots.live)
        return min([self._most_rows, *(segment.capacity - filled for pair in pairs for segment, filled in pair)])

    def step(self, tokens: Mapping[Sequence, Seq[int]]) -> Scores:
        """Appends tokens to each sequence that has a slot, one or more, at most as many as :meth:`widest_step` says;
        returns the scores that follow each, by slot. What turns out to be wrong of them is taken back by
        :meth:`Sequence.forget`.

        All slots have as many rows as the longest or more: those after a slot's own say nothing, and are written over.
        Raises :class:`RuntimeError` unless ``tokens`` are of just these: a later request may have taken a slot over.
        """
        live = self.slots.live
        if tokens.keys() != set(live):
            raise RuntimeError(
                "another request took over the caches; finish one request before the next, or load a pipeline for each"
            )
        rows = max(map(len, tokens.values()))
        if rows > 1 and self._backend.kv_block > 1:  # few numbers of rows, so that steps are equal to others
            rows = min(1 << (rows - 1).bit_length(), self.widest_step())
        lengths, places, write = self._lengths(live, rows), self._places_of(len(live), rows), self._backend.write
        write(
            places.token, np.array([[*tokens[each], *[tokens[each][-1]] * (rows - len(tokens[each]))] for each in live])
        )
        positions = np.array([each.next_position for each in live])[:, None] + np.arange(rows)
        write(places.position, np.tile(positions, (*self._axes, 1, 1)))
        for number, place in enumerate(places.write_index):
            write(place, np.array([each.filled[number] for each in live]))
        for number, seen in enumerate(places.visible):
            write(seen, np.concatenate([each.sights[number].of(each.next_position, rows) for each in live], axis=1))
        kv_lengths = [self._backend.upload(np.array([length])) for length in lengths]
        scores = self._backend.repeat((len(live), rows, *lengths), lambda: self._step(places, kv_lengths))
        for each in live:
            each.append(len(tokens[each]))
        return scores

    def _lengths(self, live: Seq[Sequence], rows: int) -> tuple[int, ...]:
        """Places that each segment reads in the next step, of so many rows: those that are filled by then in the
        fullest slot, and as many more in each as make the step equal to others. The mask hides them.

        Of one sequence all segments are filled at one pace, so that what is free counts in blocks. Of several each is
        as full as another sequence makes it: then all read an equal share of their capacity, one of as many shares as
        the longest has blocks.
        """
        filled = [max(counts) for counts in zip(*(each.filled for each in live), strict=True)]
        capacities, block = [segment.capacity for segment in self._segments], self._backend.kv_block
        if len(live) > 1 and block > 1:
            shares = -(-max(capacities) // block)
            share = max(-(-(count + rows) * shares // most) for count, most in zip(filled, capacities, strict=True))
            return tuple(-(-most * share // shares) for most in capacities)
        free = min(most - count for count, most in zip(filled, capacities, strict=True)) - rows
        return tuple(count + rows + free % block for count in filled)

    def _places_of(self, count: int, rows: int) -> _Places:
        if (count, rows) not in self._places:
            self._places[count, rows] = self._make_places(count, rows)
        return self._places[count, rows]

    def _make_places(self, count: int, rows: int) -> _Places:
        zeros = self._backend.zeros
        return _Places(
            token=zeros((count, rows), "int64"),
            scored=self._backend.upload(np.arange(rows)),
            position=zeros((*self._axes, count, rows), "int64"),
            write_index=[zeros((count,), "int64") for _ in self._segments],
            visible=[zeros((2, count, rows), "int64") for _ in self._segments if self._sees],
        )

    def _step(self, places: _Places, kv_lengths: Iterable[Tensor]) -> Scores:
        """All graphs of one decode step, for the tokens and the places that were written before."""
        embedded = {port.INPUT_IDS: places.token, port.VISUAL: self._no_visual, port.VISUAL_INDEX: self._no_index}
        state: dict[str, Tensor] = {
            port.HIDDEN: self._embed(embedded, {})[port.HIDDEN],
            port.POSITION_IDS: places.position,
            port.SCORED: places.scored,
            port.VISUAL_INDEX: self._no_index,
            port.REFERENCE_INDEX: self._no_index,
            port.DEEPSTACK: self._no_deepstack,
        }
        logits: Tensor = None
        caches = self._caches.bound(0, len(self.slots.live))
        for number, (place, kv_length) in enumerate(zip(places.write_index, kv_lengths, strict=True)):
            if self._sees:
                state[port.VISIBLE] = places.visible[number]
            outputs = self._run(number, caches, state, place, kv_length)
            logits, state[port.HIDDEN] = outputs.get(port.LOGITS), outputs.get(port.HIDDEN_OUT)
        return self._scores(logits)

    def _scores(self, logits: Tensor) -> Scores:
        return Scores(logits, None if self._greedy is None else self._greedy({port.LOGITS: logits}, {})[port.TOKEN])

    def _fetch(self, stages: Iterable[_Stage]) -> tuple[Kept, ...]:
        """What stages kept, as indices into the visual tokens that came."""
        kept = list[Kept]()
        for stage in stages:
            # copies: what a backend gives to the host may live no longer than its tensor
            indices = self._backend.download(stage.kept)[0]
            arriving = len(kept[-1].indices) if kept else self._schedule.entering()
            if len(indices) and not (indices.min() >= 0 and indices.max() < arriving):
                raise BackendError(
                    f"the prune after layer {stage.after_layer} kept tokens outside of the {arriving} that reached it;"
                    " rebuild the bundle"
                )
            is_pivot = self._backend.download(stage.is_pivot)[0]
            kept.append(Kept(stage.after_layer, kept[-1].indices[indices] if kept else indices, is_pivot))
        return tuple(kept)

    def _of_pictures(self, prompt: Prompt, kept: tuple[Kept, ...]) -> tuple[Kept, ...]:
        """The same as indices into all tokens of the pictures, after what the tower left of them."""
        thinning, left = self._schedule.tower, prompt.kept
        if thinning is None or left is None:
            return kept
        tower = Kept(-1, left, np.zeros(len(left), np.bool_), thinning.after_block)
        return tower, *(replace(stage, indices=left[stage.indices]) for stage in kept)

    def _sight(self, prompt: Prompt, layer: int, kept: Iterable[Kept]) -> Sight:
        """What steps see of the cache of ``layer``, by what of the prompt the stages before it ``kept``."""
        stays = np.ones(len(prompt.input_ids), np.bool_)
        for stage in kept:
            if stage.after_layer < layer:
                stays[np.delete(prompt.visual_index, stage.indices)] = False
        return Sight(prompt.positions[0, stays], prompt.next_position, self._window)

    def _rows(self, prompt: Prompt, method: Method) -> list[int]:
        """Rows of the prompt that reach each segment."""
        text, visual = len(prompt.input_ids) - len(prompt.visual_index), prompt.visual_tokens
        reaching = (self._schedule.reaching(each.first_layer, visual, method.count) for each in self._segments)
        return [text + left for left in reaching]

    def _rating(self, raters: Raters, prompt: Prompt, hidden: Tensor) -> Tensor:
        """The reference rows that ``raters`` picks by the embedded prompt."""
        rows = self._backend.download(hidden)[0].astype(np.float32)
        rate = raters(rows[prompt.reference_index], rows[prompt.visual_index])
        return self._backend.upload(prompt.reference_index[rate])

    def _host_prunes(
        self, method: Method, prompt: Prompt, cls_saliency: Tensor | None, pivot_counts: tuple[int, ...]
    ) -> list[Runner[Tensor]]:
        saliency = None if cls_saliency is None else self._backend.download(cls_saliency)
        keeps = self._schedule.keeps_of(prompt.visual_tokens)
        return HostPrune(method, self._backend, keeps, pivot_counts, prompt.boxes, saliency).runners

    def _embed_rows(self, ids: np.ndarray, visual: Tensor | None, index: Tensor) -> Tensor:
        inputs = {
            port.INPUT_IDS: self._backend.upload(ids[None]),
            port.VISUAL: self._no_visual if visual is None else visual,
            port.VISUAL_INDEX: index,
        }
        return self._embed(inputs, {})[port.HIDDEN]

    def _prefill_tail(self, caches: _Caches, state: Mapping[str, Tensor], first: int, end: int, timer: Timer) -> Tensor:
        """Runs all rows, ``first`` to ``end`` of the caches, through the segments that no prune follows; returns the
        logits of the last row.

        That row is all that they owe, so they take the rows in chunks: a chunk attends to no slot after its own, where
        one call would compute those products and mask them. Segments that add to visual tokens take them whole, and so
        do those in which a row may see one that comes after it.
        """
        tail = [self._taken[segment.graph] for segment in self._segments[self._tail :]]
        whole = any(not taken.isdisjoint((port.DEEPSTACK, port.VISIBLE)) for taken in tail)
        most = None if whole else self._backend.prefill_rows
        rows = end - first
        chunks = 1 if most is None else -(-rows // most)
        ends = [rows * chunk // chunks for chunk in range(chunks + 1)]
        positions = None if chunks == 1 else self._backend.download(state[port.POSITION_IDS])
        for start, stop in pairwise(ends):
            part = {**state, port.SCORED: self._backend.upload(np.array([stop - start - 1]))}
            if positions is not None:
                part[port.HIDDEN] = self._backend.rows(state[port.HIDDEN], start, stop)
                part[port.POSITION_IDS] = self._backend.upload(positions[..., start:stop].copy())
            for number in range(self._tail, len(self._segments)):
                with timer.step(self._segments[number].graph):
                    outputs = self._fill(number, caches, part, first + start, first + stop)
                part[port.HIDDEN] = outputs.get(port.HIDDEN_OUT)
        return outputs[port.LOGITS]

    def _fill(
        self, number: int, caches: _Caches, state: Mapping[str, Tensor], start: int, stop: int
    ) -> dict[str, Tensor]:
        """Runs rows ``start`` to ``stop`` of a prompt through a segment."""
        write_index, kv_length = (self._backend.upload(np.array([slot])) for slot in (start, stop))
        return self._run(number, caches, state, write_index, kv_length)

    def _run(
        self, number: int, caches: _Caches, state: Mapping[str, Tensor], write_index: Tensor, kv_length: Tensor
    ) -> dict[str, Tensor]:
        segment, bound = self._segments[number], caches[number]
        inputs = {
            port.HIDDEN: state[port.HIDDEN],
            port.POSITION_IDS: state[port.POSITION_IDS],
            port.WRITE_INDEX: write_index,
            port.KV_LENGTH: kv_length,
            **bound.past,
        }
        for name in (port.VISIBLE, port.SCORED, port.VISUAL_INDEX, port.REFERENCE_INDEX, port.DEEPSTACK):
            if name in self._taken[segment.graph]:
                inputs[name] = state[name]
        return self._runners[number](inputs, bound.present)

    def _prune(
        self,
        after_layer: int,
        prunes: list[Runner[Tensor]],
        state: dict[str, Tensor],
        keeps: tuple[int, ...],
        pivot_counts: tuple[int, ...],
        timer: Timer,
    ) -> _Stage:
        """Runs the stage after ``after_layer`` on ``state`` and narrows ``state`` to what it kept."""
        number = self._stage_after[after_layer]
        with timer.step(names.prune(number)):
            taken = self._taken[names.prune(number)]
            inputs = {name: state[name] for name in (*port.NARROWED, port.SALIENCY) if name in taken}
            if port.PIVOT_COUNT in taken:
                inputs[port.PIVOT_COUNT] = self._backend.upload(np.array([pivot_counts[number]]))
            if self._varies:
                inputs[port.RANKS] = self._backend.upload(np.arange(keeps[number]))
            outputs = prunes[number](inputs, {})
        state.update({name: outputs[port.out(name)] for name in port.NARROWED if port.out(name) in outputs})
        return _Stage(after_layer, outputs[port.KEPT], outputs[port.IS_PIVOT])


def _load(bundle: Bundle, backend: Backend[Any], name: str) -> Runner[Tensor]:
    graph = bundle.graph(name)
    return backend.load(bundle.path(graph.path), graph)
