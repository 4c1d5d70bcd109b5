"""Graphs around the decoder: embedding with the visual tokens put in, the Gram matrix, and one prune per stage.

What prunes is of one request. Embedding and the choice of a token serve any number of slots, each a request; only where
there is a single one may it have visual tokens.
"""

from __future__ import annotations

import onnx_ir as ir

from clasp_trt.chain import Prune, names, port, ports
from clasp_trt.export.graph import GraphBuilder, Integers
from clasp_trt.export.pruning.methods import BODIES, FUNCTIONS
from clasp_trt.export.pruning.selection import token_gram
from clasp_trt.export.pruning.sizes import Fixed, Sizes, Varying

MOST = 3e38
"""Just below the greatest float32: no sum of scores that mean anything comes near."""


def embed_graph(weight: ir.TensorProtocol | Integers, width: int, dtype: str, scale: float | None = None) -> ir.Model:
    """Token ids to hidden states, with visual tokens in the places that ``visual_index`` names.

    ``weight`` is the embedding table ``[vocabulary, width]``; what it gives is multiplied by ``scale``, if there is
    one.
    """
    g = GraphBuilder(names.EMBED, "Embeds a prompt and puts the visual tokens in their places.")
    taken, given = ports.embed(width, dtype)
    ids, visual, index = g.take(taken)
    table = g.weight("embedding", weight)
    text = g.op("Gather", table, ids, axis=0)
    if scale is not None:
        text = g.op("Mul", text, g.const(scale, dtype))
    rows = g.op("Reshape", text, g.const([-1, width]))  # of all slots; those of the first come first
    merged = g.op("ScatterND", rows, g.op("Unsqueeze", index, g.const([-1])), g.op("Squeeze", visual, g.const([0])))
    g.give(given, g.op("Reshape", merged, g.op("Shape", text)))
    return g.model()


def gram_graph(tokens: int | None, width: int, dtype: str) -> ir.Model:
    """Cosine similarities of the visual tokens of a request, computed once and narrowed by every stage.

    ``tokens`` of None takes any number of them.
    """
    g = GraphBuilder(names.GRAM, "Cosine Gram matrix of the visual tokens.")
    taken, given = ports.gram(port.VISUAL_TOKENS if tokens is None else tokens, width, dtype)
    (visual,) = g.take(taken)
    g.give(given, token_gram(g, visual, tokens))
    return g.model()


def prune_graph(
    stage: Prune, width: int, dtype: str, axes: int = 1, deepstack: int = 0, visible: str = "causal"
) -> ir.Model:
    """One stage: keeps ``stage.keep`` of the visual tokens that arrive and all text, in their original order; each row
    has ``axes`` positions and, by what is ``visible``, is told what it sees. Of ``deepstack`` additions, what is still
    to be added stays for the kept alone.

    A stage that another follows also narrows for it what its method reads of each token. Where their number varies, the
    graph keeps as many of however many arrive as there are ``ranks``.
    """
    if stage.varies:
        g = GraphBuilder(stage.name, "Keeps as many visual tokens as there are ranks, and all text.")
    else:
        g = GraphBuilder(stage.name, f"Keeps {stage.keep} of {stage.arriving} visual tokens and all text.")
    taken, given = ports.prune(stage, width, dtype, axes, deepstack, visible)
    at = {each.name: value for each, value in zip(taken, g.take(taken), strict=True)}
    hidden, positions, visual = at[port.HIDDEN], at[port.POSITION_IDS], at[port.VISUAL_INDEX]
    read = {name: at[name] for name in stage.reads}
    counted = next(at[name] for name in (port.SALIENCY, port.GRAM, port.CLS_SALIENCY) if name in read)
    sizes: Sizes = Varying(counted, at[port.RANKS]) if stage.varies else Fixed(stage.arriving, stage.keep)

    kept, is_pivot = BODIES[stage.method](g, sizes, read)
    chosen = g.op("Squeeze", kept, g.const([0]))
    row_axis = 1 if axes == 1 else 2  # of positions

    # rows to keep: all but the visual tokens that were not chosen
    ones = g.op("Expand", g.const([1]), g.op("Shape", positions, start=row_axis))
    text_only = g.op("ScatterElements", ones, visual, sizes.zeros(g))
    kept_rows = g.op("Gather", visual, chosen)
    stays = g.op("ScatterElements", text_only, kept_rows, sizes.ones(g))
    new_row = g.op("Sub", g.op("CumSum", stays, g.const(0)), g.const(1))
    # where each new row comes from: dropped rows all write to one place past the end, which is cut off; there is room
    # for as many rows as there were, since TensorRT refuses to scatter more than there are places
    old_length = g.op("Shape", positions, start=row_axis)
    new_length = g.op("Sub", old_length, sizes.dropped(g))
    place = g.op("Where", g.op("Greater", stays, g.const(0)), new_row, new_length)
    sources = g.op("Range", g.const(0), g.op("Squeeze", old_length), g.const(1))
    room = g.op("Expand", g.const([0]), old_length)
    origin = g.op("Slice", g.op("ScatterElements", room, place, sources), g.const([0]), new_length)

    stay = [g.op("Gather", hidden, origin, axis=1), g.op("Gather", positions, origin, axis=row_axis)]
    if port.VISIBLE in at:
        stay.append(g.op("Gather", _among(g, at[port.VISIBLE], stays, new_row), origin, axis=2))
    stay += [kept, is_pivot]
    owed = {each.name for each in given}
    if port.out(port.GRAM) in owed:
        stay.append(g.op("Gather", g.op("Gather", at[port.GRAM], chosen, axis=1), chosen, axis=2))
    if port.out(port.CLS_SALIENCY) in owed:
        stay.append(g.op("Gather", at[port.CLS_SALIENCY], chosen, axis=1))
    if port.out(port.VISUAL_INDEX) in owed:
        stay.append(g.op("Gather", new_row, kept_rows))
    if port.out(port.REFERENCE_INDEX) in owed:
        stay.append(g.op("Gather", new_row, at[port.REFERENCE_INDEX]))
    if port.DEEPSTACK in at:
        stay.append(g.op("Gather", at[port.DEEPSTACK], chosen, axis=1))
    g.give(given, *stay)
    size = (None, None) if stage.varies else (stage.arriving, stage.keep)
    return g.model(function(*size) for function in FUNCTIONS.get(stage.method, ()))


def _among(g: GraphBuilder, visible: ir.Value, stays: ir.Value, new_row: ir.Value) -> ir.Value:
    """First place and end ``[2, 1, sequence]`` of what each row sees, among the rows that stay: the end follows the
    last of these that it saw, the first is the next one that stays."""
    first, end = (g.op("Gather", visible, g.const([number]), axis=0) for number in (0, 1))
    moved = g.op("Sub", g.op("Add", g.op("Gather", new_row, first), g.const(1)), g.op("Gather", stays, first))
    ended = g.op("Add", g.op("Gather", new_row, g.op("Sub", end, g.const(1))), g.const(1))
    return g.op("Concat", moved, ended, axis=0)


def greedy_graph(vocabulary: int) -> ir.Model:
    """The most likely tokens, chosen where the logits are, so that one number a row of a step comes to the host.

    It is -1 if a logit is not finite: their absolute values then have no sum below :data:`MOST`.
    """
    g = GraphBuilder(names.GREEDY, "The most likely token.")
    taken, given = ports.greedy(vocabulary)
    (logits,) = g.take(taken)
    best = g.op("ArgMax", logits, axis=-1, keepdims=0)
    total = g.op("ReduceSum", g.op("Abs", logits), g.const([-1]), keepdims=0)
    g.give(given, g.op("Where", g.op("Less", total, g.const(MOST, "float32")), best, g.const([[-1]])))
    return g.model()
