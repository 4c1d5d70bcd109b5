"""Graphs around the decoder: embedding with the visual tokens put in, the Gram matrix, and one prune per stage.

All sequences are those of one request, so their batch dimension is 1.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.selection import pivot_select, spherical_kmeans, token_gram
from clasp_trt.operators import DOMAIN, PIVOT_SELECT, PLUGIN_NAMESPACE, SPHERICAL_KMEANS
from clasp_trt.ops import ITERATIONS

MOST = 3e38
"""Just below the greatest float32: no sum of scores that mean anything comes near."""


def embed_graph(weight: ir.TensorProtocol, width: int, dtype: str) -> ir.Model:
    """Token ids to hidden states, with visual tokens in the places that ``visual_index`` names.

    ``weight`` is the embedding table ``[vocabulary, width]``.
    """
    g = GraphBuilder("embed", "Embeds a prompt and puts the visual tokens in their places.")
    ids = g.input("input_ids", "int64", [1, "sequence"], "token ids; ids under visual tokens are not used")
    visual = g.input("visual", dtype, [1, "visual_tokens", width], "projected visual tokens; may be empty")
    index = g.input("visual_index", "int64", ["visual_tokens"], "rows of the sequence that hold them")
    table = g.weight("embedding", weight)
    text = g.op("Gather", table, ids, axis=0)
    rows = g.op("Squeeze", text, g.const([0]))
    merged = g.op("ScatterND", rows, g.op("Unsqueeze", index, g.const([-1])), g.op("Squeeze", visual, g.const([0])))
    hidden = g.op("Unsqueeze", merged, g.const([0]))
    g.output(hidden, "hidden", dtype, [1, "sequence", width], "decoder input")
    return g.model()


def gram_graph(tokens: int, width: int, dtype: str) -> ir.Model:
    """Cosine similarities of the visual tokens of an image, computed once and narrowed by every stage."""
    g = GraphBuilder("gram", "Cosine Gram matrix of the visual tokens.")
    visual = g.input("visual", dtype, ["batch", tokens, width], "projected visual tokens")
    gram = token_gram(g, visual, tokens)
    g.output(gram, "gram", "float32", ["batch", tokens, tokens], "similarities; 0 rows mark invalid tokens")
    return g.model()


def prune_graph(name: str, tokens: int, keep: int, width: int, dtype: str, *, last: bool) -> ir.Model:
    """One stage: keeps ``keep`` of ``tokens`` visual tokens and all text, in their original order.

    A stage that another follows (``last`` false) also narrows the Gram matrix for it.
    """
    g = GraphBuilder(name, f"Keeps {keep} of {tokens} visual tokens and all text.")
    hidden = g.input("hidden", dtype, [1, "sequence", width], "hidden states of text and visual tokens")
    positions = g.input("position_ids", "int64", [1, "sequence"], "original rotary positions")
    saliency = g.input("saliency", "float32", [1, tokens], "attention that each visual token receives")
    gram = g.input("gram", "float32", [1, tokens, tokens], "similarities of these visual tokens")
    count = g.input("pivot_count", "int64", [1], "how many of the kept are pivots")
    visual = g.input("visual_index", "int64", [tokens], "rows of the visual tokens, ascending")
    reference = g.input("reference_index", "int64", ["reference"], "rows of the text after the image")

    # attributes and namespace speak to TensorRT's plugins; the bodies are made for these very values
    pivots = g.op(
        PIVOT_SELECT.name, saliency, count, domain=DOMAIN, keep=keep, plugin_namespace=PLUGIN_NAMESPACE,
        plugin_version=str(PIVOT_SELECT.version),
    )  # fmt: skip
    kept, is_pivot = g.ops(
        SPHERICAL_KMEANS.name, gram, pivots, outputs=2, domain=DOMAIN, keep=keep, iterations=ITERATIONS,
        plugin_namespace=PLUGIN_NAMESPACE, plugin_version=str(SPHERICAL_KMEANS.version),
    )  # fmt: skip
    chosen = g.op("Squeeze", kept, g.const([0]))

    # rows to keep: all but the visual tokens that were not chosen
    ones = g.op("Expand", g.const([1]), g.op("Shape", positions, start=1))
    text_only = g.op("ScatterElements", ones, visual, g.const(np.zeros(tokens)))
    kept_rows = g.op("Gather", visual, chosen)
    stays = g.op("ScatterElements", text_only, kept_rows, g.const(np.ones(keep)))
    new_row = g.op("Sub", g.op("CumSum", stays, g.const(0)), g.const(1))
    # where each new row comes from: dropped rows all write to one place past the end, which is cut off; there is room
    # for as many rows as there were, since TensorRT refuses to scatter more than there are places
    old_length = g.op("Shape", positions, start=1)
    new_length = g.op("Sub", old_length, g.const([tokens - keep]))
    place = g.op("Where", g.op("Greater", stays, g.const(0)), new_row, new_length)
    sources = g.op("Range", g.const(0), g.op("Squeeze", old_length), g.const(1))
    room = g.op("Expand", g.const([0]), old_length)
    origin = g.op("Slice", g.op("ScatterElements", room, place, sources), g.const([0]), new_length)

    g.output(g.op("Gather", hidden, origin, axis=1), "hidden_out", dtype, [1, "kept_sequence", width], "what stays")
    g.output(
        g.op("Gather", positions, origin, axis=1), "position_ids_out", "int64", [1, "kept_sequence"], "its positions"
    )
    g.output(kept, "kept", "int64", [1, keep], "kept visual tokens, ascending, as indices into this stage's tokens")
    g.output(is_pivot, "is_pivot", "bool", [1, keep], "pivot (true) or medoid")
    if not last:
        narrowed = g.op("Gather", g.op("Gather", gram, chosen, axis=1), chosen, axis=2)
        g.output(narrowed, "gram_out", "float32", [1, keep, keep], "similarities of the kept")
        g.output(g.op("Gather", new_row, kept_rows), "visual_index_out", "int64", [keep], "their new rows")
        g.output(
            g.op("Gather", new_row, reference),
            "reference_index_out",
            "int64",
            ["reference"],
            "new rows of the text after the image",
        )
    return g.model([pivot_select(tokens, keep), spherical_kmeans(tokens, keep)])


def greedy_graph(vocabulary: int) -> ir.Model:
    """The most likely token, chosen where the logits are, so that one number of a step comes to the host.

    It is -1 if a logit is not finite: their absolute values then have no sum below :data:`MOST`.
    """
    g = GraphBuilder("greedy", "The most likely token.")
    logits = g.input("logits", "float32", [1, 1, vocabulary], "scores of the next token")
    best = g.op("ArgMax", logits, axis=-1, keepdims=0)
    total = g.op("ReduceSum", g.op("Abs", logits), g.const([-1]), keepdims=0)
    token = g.op("Where", g.op("Less", total, g.const(MOST, "float32")), best, g.const([[-1]]))
    g.output(token, "token", "int64", [1, 1], "the lowest of the most likely, or -1")
    return g.model()
