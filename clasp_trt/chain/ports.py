"""The ports of every graph: name, dtype, shape and meaning, in order.

An exported graph has exactly these, and a manifest that states others is not whole. A ``str`` in a shape is a symbolic
dimension. Segments serve prefill (``sequence`` rows of a prompt, in one slot) and decode (one row or a few in each of
any number of slots) alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from clasp_trt.chain import names, port
from clasp_trt.chain.cuts import Chain, Cut, Prune
from clasp_trt.tensors import TensorSpec


@dataclass(frozen=True)
class Port:
    """An input or output of a graph, and what it holds."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    meaning: str

    @property
    def spec(self) -> TensorSpec:
        """What a manifest says of it."""
        return TensorSpec(self.name, self.dtype, self.shape)


class Ports(NamedTuple):
    """The inputs and outputs of one graph, in order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class DecoderSizes(Protocol):
    """What the ports of a decoder depend on."""

    @property
    def layers(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def axes(self) -> int: ...
    @property
    def deepstack(self) -> int: ...
    @property
    def visible(self) -> str: ...


def _positions(axes: int, slots: int | str, sequence: str = port.SEQUENCE) -> tuple[int | str, ...]:
    """The shape of ``position_ids``: a number for each row, or ``axes`` of them."""
    rows = (slots, sequence)
    return rows if axes == 1 else (axes, *rows)


def _visible(visible: str, slots: int | str, rows: str, name: str = port.VISIBLE) -> tuple[Port, ...]:
    """What each row sees, where that does not follow from its place. Of both numbers the axis comes first, as of
    positions, so that a row of a step is a column in either."""
    if visible == "causal":
        return ()
    return (Port(name, "int64", (2, slots, rows), "first place that each row sees in a window, and the end"),)


def embed(width: int, dtype: str, slots: int | str = port.SLOTS) -> Ports:
    """Token ids and visual tokens to the decoder's input; only that of a single slot may have visual tokens."""
    visual = (1, port.VISUAL_TOKENS, width)
    return Ports(
        (
            Port(port.INPUT_IDS, "int64", (slots, port.SEQUENCE), "token ids; ids under visual tokens are not used"),
            Port(port.VISUAL, dtype, visual, "projected visual tokens; may be empty"),
            Port(port.VISUAL_INDEX, "int64", (port.VISUAL_TOKENS,), "rows of the sequence that hold them"),
        ),
        (Port(port.HIDDEN, dtype, (slots, port.SEQUENCE, width), "decoder input"),),
    )


def gram(tokens: int | str, width: int, dtype: str) -> Ports:
    """Visual tokens to their similarities."""
    square = (port.BATCH, tokens, tokens)
    return Ports(
        (Port(port.VISUAL, dtype, (port.BATCH, tokens, width), "projected visual tokens"),),
        (Port(port.GRAM, "float32", square, "similarities; 0 rows mark invalid tokens"),),
    )


def adds(layer: int, deepstack: int) -> bool:
    """Whether something is still added to the visual tokens, in ``layer`` or after it."""
    return layer < deepstack


def prune(stage: Prune, width: int, dtype: str, axes: int = 1, deepstack: int = 0, visible: str = "causal") -> Ports:
    """All rows, with ``axes`` positions each, to those that stay; a stage that another follows also narrows what that
    one needs, and one before the last of ``deepstack`` additions what is still to be added.

    Where the number of tokens varies, how many stay is how many ``ranks`` there are.
    """
    tokens: int | str = port.VISUAL_TOKENS if stage.varies else stage.arriving
    keep: int | str = port.KEEP if stage.varies else stage.keep
    ranks = (Port(port.RANKS, "int64", (keep,), "0, 1, 2 and so on, one for each token that shall stay"),)
    read = tuple(each for each in _read(tokens) if each.name in stage.reads)
    following = () if stage.last else tuple(each for each in _owed(keep) if each.name in map(port.out, stage.reads))
    new_rows = (Port(port.out(port.VISUAL_INDEX), "int64", (keep,), "their new rows"),)
    reference = (Port(port.REFERENCE_INDEX, "int64", (port.REFERENCE,), "rows of the text after the image"),)
    new_reference = (
        Port(port.out(port.REFERENCE_INDEX), "int64", (port.REFERENCE,), "new rows of the text after the image"),
    )
    ranks_by_text = port.SALIENCY in stage.reads
    stacked = _stacked(stage.after_layer + 1, deepstack, tokens, width, dtype)
    added = tuple(
        Port(port.out(each.name), dtype, (deepstack, keep, width), "additions to the kept") for each in stacked
    )
    return Ports(
        (
            Port(port.HIDDEN, dtype, (1, port.SEQUENCE, width), "hidden states of text and visual tokens"),
            Port(port.POSITION_IDS, "int64", _positions(axes, 1), "original rotary positions"),
            *_visible(visible, 1, port.SEQUENCE),
            *read,
            *(ranks if stage.varies else ()),
            Port(port.VISUAL_INDEX, "int64", (tokens,), "rows of the visual tokens, ascending"),
            *(reference if ranks_by_text else ()),
            *stacked,
        ),
        (
            Port(port.HIDDEN_OUT, dtype, (1, port.KEPT_SEQUENCE, width), "what stays"),
            Port(port.out(port.POSITION_IDS), "int64", _positions(axes, 1, port.KEPT_SEQUENCE), "its positions"),
            *_visible(visible, 1, port.KEPT_SEQUENCE, port.out(port.VISIBLE)),
            Port(port.KEPT, "int64", (1, keep), "kept visual tokens, ascending, as indices into this stage's tokens"),
            Port(port.IS_PIVOT, "bool", (1, keep), "pivot (true) or medoid"),
            *following,
            *(() if stage.last and not stacked else new_rows),
            *(new_reference if ranks_by_text and not stage.last else ()),
            *added,
        ),
    )


def _read(tokens: int | str) -> tuple[Port, ...]:
    """What selections of ``tokens`` visual tokens read, each as far as its method does."""
    return (
        Port(port.SALIENCY, "float32", (1, tokens), "attention that each visual token receives"),
        Port(port.GRAM, "float32", (1, tokens, tokens), "similarities of these visual tokens"),
        Port(port.CLS_SALIENCY, "float32", (1, tokens), "attention of [CLS] to each visual token"),
        Port(port.PIVOT_COUNT, "int64", (1,), "how many of the kept are pivots"),
    )


def _owed(keep: int | str) -> tuple[Port, ...]:
    """What a stage that keeps ``keep`` narrows for the next one, as far as its method reads it."""
    return (
        Port(port.out(port.GRAM), "float32", (1, keep, keep), "similarities of the kept"),
        Port(port.out(port.CLS_SALIENCY), "float32", (1, keep), "attention of [CLS] to the kept"),
    )


def _stacked(layer: int, deepstack: int, tokens: int | str, width: int, dtype: str) -> tuple[Port, ...]:
    """What is added to the visual tokens in each of the first layers, as long as ``layer`` is none after them."""
    shape = (deepstack, tokens, width)
    additions = Port(port.DEEPSTACK, dtype, shape, "what is added to the visual tokens after each of the first layers")
    return (additions,) if adds(layer, deepstack) else ()


def segment(
    cut: Cut,
    sizes: DecoderSizes,
    capacity: int,
    dtype: str,
    slots: int | str = port.SLOTS,
    scores: int | str = port.SCORES,
) -> Ports:
    """New rows and caches of ``capacity`` places to the rows after the last layer, or the logits that ``scores`` of
    them end in: those that the graph is told, or the last one.

    Only a single slot may have visual and reference rows.
    """
    rows = (slots, port.SEQUENCE, sizes.width)
    cache = (slots, sizes.kv_heads, capacity, sizes.head_dim)
    filled = "places of the fullest cache once the new rows are in: at least write_index + sequence"
    watched = (
        Port(port.REFERENCE_INDEX, "int64", (port.REFERENCE,), "new rows of the text after the image; empty in decode"),
        Port(port.VISUAL_INDEX, "int64", (port.VISUAL_TOKENS,), "new rows of the visual tokens; empty in decode"),
    )
    scored = [Port(port.SCORED, "int64", (scores,), "new rows whose logits are wanted")]
    if cut.last == sizes.layers - 1:
        end = Port(port.LOGITS, "float32", (slots, scores, sizes.vocab_size), "scores of the token after each")
    else:
        end = Port(port.HIDDEN_OUT, dtype, rows, "hidden states after the last layer")
    told = cut.last == sizes.layers - 1 and isinstance(scores, str)
    stacked = _stacked(cut.first, sizes.deepstack, port.VISUAL_TOKENS, sizes.width, dtype)
    received = "attention of the reference rows, mean over heads and rows"
    return Ports(
        (
            Port(port.HIDDEN, dtype, rows, "hidden states of the new rows"),
            Port(port.POSITION_IDS, "int64", _positions(sizes.axes, slots), "rotary positions of the new rows"),
            Port(port.WRITE_INDEX, "int64", (slots,), "place in each cache of the first new row"),
            Port(port.KV_LENGTH, "int64", (1,), filled),
            *_visible(sizes.visible, slots, port.SEQUENCE),
            *(scored if told else ()),
            *(watched if cut.watched else watched[1:] if stacked else ()),
            *stacked,
            *(Port(port.past(name), dtype, cache, "cache, filled up to write_index") for name in _caches(cut)),
        ),
        (
            end,
            *((Port(port.SALIENCY, "float32", (slots, port.VISUAL_TOKENS), received),) if cut.watched else ()),
            *(Port(port.present(name), dtype, cache, "updated cache; bind it to its past") for name in _caches(cut)),
        ),
    )


def greedy(vocabulary: int, slots: int | str = port.SLOTS, scores: int | str = port.SCORES) -> Ports:
    """Scores to the most likely tokens."""
    return Ports(
        (Port(port.LOGITS, "float32", (slots, scores, vocabulary), "scores of the token after each row"),),
        (Port(port.TOKEN, "int64", (slots, scores), "the lowest of the most likely, or -1"),),
    )


def _caches(cut: Cut) -> Iterator[str]:
    """Keys and values of each layer of ``cut``."""
    for layer in range(cut.first, cut.last + 1):
        yield from port.caches(layer)


def decoder(
    chain: Chain,
    sizes: DecoderSizes,
    context: int,
    dtype: str,
    slots: int | str = port.SLOTS,
    scores: int | str = port.SCORES,
) -> Iterator[tuple[str, Ports]]:
    """Every graph from ``embed`` on, in order, for sequences of ``context`` positions; each is made when asked for.

    ``slots`` and ``scores`` are 1 in bundles from before there could be more.
    """
    tokens = chain.schedule.tokens
    yield names.EMBED, embed(sizes.width, dtype, slots)
    if chain.has_gram:
        yield names.GRAM, gram(port.VISUAL_TOKENS if chain.varies else chain.schedule.entering(), sizes.width, dtype)
    for stage in chain.prunes:
        yield stage.name, prune(stage, sizes.width, dtype, sizes.axes, sizes.deepstack, sizes.visible)
    for cut in chain.cuts:
        yield cut.name, segment(cut, sizes, cut.capacity(context, tokens), dtype, slots, scores)
    yield names.GREEDY, greedy(sizes.vocab_size, slots, scores)
