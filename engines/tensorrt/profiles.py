"""Optimisation profiles from what a bundle is for: its budget, its context, and the longest prompt."""

from __future__ import annotations

from collections.abc import Mapping
from math import gcd

from clasp_trt.bundle import Graph, Manifest, Profile, Segment
from clasp_trt.chain import Chain, names, port
from clasp_trt.errors import BackendError, ScheduleError
from clasp_trt.plugins.launch import ALIGNMENT
from clasp_trt.speculation import MOST
from clasp_trt.tensors import BYTES

DEFAULT_PROMPT = 512
"""Longest text of a prompt, in tokens, that engines are built for unless asked otherwise."""
TYPICAL_TEXT = 64
"""Text that kernels are tuned for: a question with its chat template, or the first half of an answer."""

STEP = (1, 1, MOST + 1)
"""Rows of a decode step: one, and some more where tokens are proposed. With a greatest of 1 TensorRT for RTX 1.7 packs
the weights of every layer once more, for this profile alone: engines, and what they take on a GPU, would be twice as
large as the weights."""

ONE = (1, 1, 1)
"""Requests of a call that takes a prompt, or chooses among its tokens."""

LAST = (1, 1, 2)
"""Rows of a prompt that are scored: its last one. A greatest of 1 would pack the last layer's weights once more."""

Sizes = Mapping[str, tuple[int, int, int]]


def longest_prompt(requested: int | None, max_context: int, tokens: int) -> int:
    """The text of a prompt to build for, beside ``tokens`` visual tokens and at least one of an answer.

    Raises :class:`ScheduleError` if ``requested`` does not fit.
    """
    room = max_context - tokens - 1
    if requested is None:
        return min(DEFAULT_PROMPT, room)
    if not 1 <= requested <= room:
        raise ScheduleError(
            f"--max-prompt {requested} does not fit: a context of {max_context} with {tokens} visual tokens leaves "
            f"1 to {room} for the text of a prompt; give less, or a larger --max-context"
        )
    return requested


def check_slots(manifest: Manifest) -> None:
    """Raises :class:`BackendError` for slots whose caches could not be bound one by one."""
    dims = manifest.model.decoder
    place = dims.kv_heads * dims.head_dim * BYTES[manifest.graphs[0].outputs[0].dtype]
    for segment in manifest.segments if manifest.slots > 1 else ():
        if (size := segment.capacity * place) % ALIGNMENT:
            raise BackendError(
                f"--slots {manifest.slots}: a slot of {segment.graph} takes {size} bytes a cache, but TensorRT wants "
                f"multiples of {ALIGNMENT}; give a --max-context and a --schedule that make the KV slots of every "
                f"segment a multiple of {ALIGNMENT // gcd(place, ALIGNMENT)}, or 1 slot"
            )


def profiles(manifest: Manifest, graph: Graph, max_prompt: int) -> tuple[Profile, ...]:
    """The profiles of ``graph``: one, or ``prefill`` of one request and ``decode`` of as many as the manifest has slots
    where both pass through.

    ``max_prompt`` is the longest text of a prompt. Sizes are least, tuned for and greatest of each symbolic dimension
    of the graph's inputs, and of the value of ``kv_length``, which is a shape to the builder.
    """
    text, (least, usual, most) = min(TYPICAL_TEXT, max_prompt), map(manifest.schedule.entering, manifest.model.tokens)
    segment = next((each for each in manifest.segments if each.graph == graph.name), None)
    if segment is not None:
        return _segment(manifest, graph, segment, text, max_prompt)
    if graph.name == names.EMBED:
        prefill = {
            port.SLOTS: ONE,
            port.SEQUENCE: (1, usual + text, most + max_prompt),
            port.VISUAL_TOKENS: (0, usual, most),
        }
        decode = {port.SLOTS: _slots(manifest), port.SEQUENCE: STEP, port.VISUAL_TOKENS: (0, 0, 0)}
        return _profile("prefill", graph, prefill), _profile("decode", graph, decode)
    sizes = {
        port.BATCH: (1, 1, 1),
        port.SLOTS: _slots(manifest),  # of scores, which every step has
        port.SCORES: STEP,
        port.REFERENCE: (0, text, max_prompt),
        port.VISUAL_TOKENS: (least, usual, most),
    }
    pictures = graph.name in names.OF_CLIPS
    if pictures or graph.name in manifest.own_to_clips:
        # one picture at a time, or one step of a clip
        clips = not pictures or manifest.for_clips(graph.name) == graph.name
        sizes.update(manifest.media.step_sizes(pictures=pictures, clips=clips))
    prunes = [each.name for each in Chain.of(manifest.schedule, method=manifest.method).prunes]
    if graph.name in prunes:
        sizes.update(_stage(manifest, prunes.index(graph.name), text, max_prompt))
    return (_profile("request", graph, sizes),)


def _slots(manifest: Manifest) -> tuple[int, int, int]:
    """Requests of a step; engines are tuned for half of the slots."""
    return 1, max(1, manifest.slots // 2), manifest.slots


def _stage(manifest: Manifest, number: int, text: int, max_prompt: int) -> Sizes:
    """What arrives at a stage of the least, a usual and the most visual tokens, and what it keeps of them."""
    schedule = manifest.schedule
    arriving = [(schedule.entering(tokens), *schedule.keeps_of(tokens)) for tokens in manifest.model.tokens]
    least, usual, most = (row[number] for row in arriving)
    few, some, many = (row[number + 1] for row in arriving)
    return {
        port.SEQUENCE: (least + 1, usual + text, most + max_prompt),
        port.VISUAL_TOKENS: (least, usual, most),
        port.KEEP: (few, some, many),
    }


def _segment(manifest: Manifest, graph: Graph, segment: Segment, text: int, max_prompt: int) -> tuple[Profile, ...]:
    places, (_, *tokens) = segment.capacity, manifest.model.tokens
    some, most = (manifest.schedule.reaching(segment.first_layer, count) for count in tokens)
    usual = min(places, some + text)
    prefill = {
        port.SLOTS: ONE,
        port.SEQUENCE: (1, usual, min(places, most + max_prompt)),
        port.SCORES: LAST,
        port.KV_LENGTH: (1, usual, places),
        port.VISUAL_TOKENS: (0, some, most),
        port.REFERENCE: (0, text, max_prompt),
    }
    decode = {
        port.SLOTS: _slots(manifest),
        port.SEQUENCE: STEP,
        port.SCORES: STEP,
        port.KV_LENGTH: (1, min(places, usual + TYPICAL_TEXT), places),
        port.VISUAL_TOKENS: (0, 0, 0),
        port.REFERENCE: (0, 0, 0),
    }
    return _profile("prefill", graph, prefill), _profile("decode", graph, decode)


def _profile(name: str, graph: Graph, sizes: Sizes) -> Profile:
    """Those of ``sizes`` that ``graph`` has; all that it has must be among them."""
    dims = {dim for each in graph.inputs for dim in each.shape if isinstance(dim, str)}
    values = {each.name for each in graph.inputs} & {port.KV_LENGTH}
    return Profile(name, {key: sizes[key] for key in sorted(dims | values)})
