"""Faults that were or could be made, and the tests of their own room that must notice each within a minute."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """``old``, which stands once in ``file``, becomes ``new``; one of ``tests`` must then fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


PROJECTOR, CUTS, SEGMENT = "export/projector.py", "clasp_trt/chain/cuts.py", "export/decoder/segment.py"
DECODER, COMPILER = "runtime/decoder.py", "clasp_trt/tools/build/compiler.py"
FUSED = "fused = (features.float() * alpha[:, :, None, None]).sum(1)"
PROJECTED = "projected: torch.Tensor = self.projector(fused.to(features.dtype))"
MERGED = "rows.view(-1, side, merge, side, merge, width).transpose(2, 3)"
SPLIT, WHOLE_LAST = "runtime/media/processors/split.py", "blocks[:0] = "
CAPACITY = "return context - (tokens - self.visual)"
GRID = "export/towers/grid_graph.py"
UNSEEN = 'seen = g.op("Where", self.inputs[port.WINDOW_VALID], g.const(0.0, self.dtype), g.const(MASKED, self.dtype))'
PARTS = "for part in range(parts):"
AXIS = 'chosen = g.op("Where", g.const(axes == axis, "bool"),'
ADDED = 'added = g.op("Gather", self.inputs[port.DEEPSTACK], g.const(layer), axis=0)'
SEEN = 'g.op("LessOrEqual", places, rows)'
ROWS = 'rows = g.op("Add", g.op("Unsqueeze", self.inputs[port.WRITE_INDEX], g.const([1, 2, 3])), steps)'
ASKED_OF = 'received = g.op("Gather", weights, places, axis=4)'
ENDS = "ends = [rows * chunk // chunks for chunk in range(chunks + 1)]"
FILL = "outputs = self._fill(number, caches, part, first + start, first + stop)"

IN_SPLIT = ("tests/runtime/media/processors/test_split.py",)
IN_PROJECTOR, IN_CHAIN = ("tests/export/test_projector.py",), ("tests/chain",)
IN_SEGMENT = ("tests/export/decoder/test_visible.py", "tests/export/decoder/test_segment.py")
IN_AXES, IN_GRID = ("tests/export/decoder/test_axes.py",), ("tests/export/towers/test_grid_graph.py",)
IN_DECODER, IN_BUILD = ("tests/runtime/test_chunks.py",), ("tests/tools/build/test_bundles.py",)
WARPERS, SAMPLING, PROCESSORS = (
    "runtime/logits/warpers.py",
    "runtime/sampling.py",
    "runtime/logits/processors.py",
)
TOP_K, TOP_P = "ranked >= ranked[min(count, ranked.size) - 1]", "np.cumsum(shares) - shares < mass"
LIKELY, TYPICAL = "shares >= min(least, shares[0])", "np.cumsum(shares[order]) < mass"
NEAREST = "distance <= distance[order[min(edge, ranked.size - 1)]]"
TOLD, MOVED = "runtime/text/visible.py", 'g.op("Concat", moved, ended'
IN_TOLD, IN_RANGES = ("tests/runtime/text/test_visible.py",), ("tests/export/decoder/test_ranges.py",)
PRUNE, IN_PRUNE = "export/pruning/prune.py", ("tests/export/pruning/test_prune.py",)
IN_LOGITS = ("tests/runtime/logits/test_edges.py",)
IN_SAMPLING = ("tests/runtime/test_sampling.py",)
IN_BUNDLE, IN_STORAGE = ("tests/bundle/test_bundle.py", "tests/bundle/test_writing.py"), ("tests/storage",)

IN_MIXED = ("tests/runtime/media/processors/test_mixed.py",)
ANYRES, IN_ANYRES = "runtime/media/processors/anyres.py", ("tests/runtime/media/processors/test_anyres_limit.py",)

MUTATIONS = (
    Mutation(
        "layers fused in another order", PROJECTOR, FUSED, FUSED.replace("alpha[", "alpha.flip(1)["), IN_PROJECTOR
    ),
    Mutation(
        "features in another order",
        PROJECTOR,
        FUSED,
        FUSED.replace("features.float()", "features.float().roll(1, 1)"),
        IN_PROJECTOR,
    ),
    Mutation(
        "layers summed without weights", PROJECTOR, FUSED, FUSED.replace(" * alpha[:, :, None, None]", ""), IN_PROJECTOR
    ),
    Mutation("columns of the output permuted", PROJECTOR, PROJECTED, f"{PROJECTED}.roll(1, -1)", IN_PROJECTOR),
    Mutation(
        "columns of the input permuted",
        PROJECTOR,
        PROJECTED,
        PROJECTED.replace("fused.to", "fused.flip(-1).to"),
        IN_PROJECTOR,
    ),
    Mutation("tokens permuted", PROJECTOR, PROJECTED, f"{PROJECTED}.flip(1)", IN_PROJECTOR),
    Mutation(
        "no activation between layers", PROJECTOR, "linear(self._activation(hidden))", "linear(hidden)", IN_PROJECTOR
    ),
    Mutation("patches of a token column by column", PROJECTOR, MERGED, f"{MERGED}.transpose(3, 4)", IN_PROJECTOR),
    Mutation("the whole picture before its tiles", SPLIT, WHOLE_LAST, WHOLE_LAST.replace("[:0] =", " +="), IN_SPLIT),
    Mutation("a slot too few", CUTS, CAPACITY, f"{CAPACITY} - 1", IN_CHAIN),
    Mutation("a slot too many", CUTS, CAPACITY, f"{CAPACITY} + 1", IN_CHAIN),
    Mutation("slots as if nothing was pruned", CUTS, CAPACITY, "return context", IN_CHAIN),
    Mutation("slots for the visual tokens alone", CUTS, CAPACITY, "return context - tokens", IN_CHAIN),
    Mutation("a row does not see itself", SEGMENT, SEEN, SEEN.replace("LessOrEqual", "Less"), IN_SEGMENT),
    Mutation("a row sees what follows it", SEGMENT, SEEN, SEEN.replace("LessOrEqual", "GreaterOrEqual"), IN_SEGMENT),
    Mutation("a later axis turns nothing", SEGMENT, AXIS, AXIS.replace("axes == axis", "axes > 9"), IN_AXES),
    Mutation("deepstack of another layer", SEGMENT, ADDED, ADDED.replace("(layer)", "(0)"), IN_AXES),
    Mutation("empty slots of a window are seen", GRID, UNSEEN, UNSEEN.replace("MASKED", "0.0"), IN_GRID),
    Mutation("saliency of one patch of four", GRID, PARTS, PARTS.replace("range(parts)", "range(1)"), IN_GRID),
    Mutation(
        "a step is masked as a prefill",
        SEGMENT,
        ROWS,
        ROWS.replace("self.inputs[port.WRITE_INDEX]", "g.const([0])"),
        IN_SEGMENT,
    ),
    Mutation(
        "slots are masked as the first",
        SEGMENT,
        ROWS,
        ROWS.replace("self.inputs[port.WRITE_INDEX]", 'g.op("Gather", self.inputs[port.WRITE_INDEX], g.const([0]))'),
        IN_SEGMENT,
    ),
    Mutation(
        "a saliency of the cache's first rows", SEGMENT, ASKED_OF, ASKED_OF.replace("places", "visual"), IN_SEGMENT
    ),
    Mutation("every row sees the whole cache", SEGMENT, "MASKED = -30000.0", "MASKED = -0.0", IN_SEGMENT),
    Mutation("a weak mask", SEGMENT, "MASKED = -30000.0", "MASKED = -3.0", IN_SEGMENT),
    Mutation("chunks that leave the last row out", DECODER, ENDS, ENDS.replace("rows *", "(rows - 1) *"), IN_DECODER),
    Mutation("chunks that leave the first row out", DECODER, ENDS, f"{ENDS}\n        ends[0] += 1", IN_DECODER),
    Mutation(
        "chunks that overlap",
        DECODER,
        "for start, stop in pairwise(ends):",
        "for start, stop in ((max(0, a - 1), b) for a, b in pairwise(ends)):",
        IN_DECODER,
    ),
    Mutation(
        "a chunk that is written to the first slots", DECODER, FILL, FILL.replace("first + start", "0"), IN_DECODER
    ),
    Mutation(
        "a chunk that sees its own rows alone", DECODER, FILL, FILL.replace("first + stop", "stop - start"), IN_DECODER
    ),
    Mutation(
        "a chunk with the positions of the first",
        DECODER,
        "positions[..., start:stop]",
        "positions[..., : stop - start]",
        IN_DECODER,
    ),
    Mutation(
        "prompts are taken whole", DECODER, "chunks = 1 if most is None else -(-rows // most)", "chunks = 1", IN_DECODER
    ),
    Mutation(
        "a portable bundle is not verified",
        COMPILER,
        'source.verify(lambda done, total: progress("check the portable bundle", done, total))',
        "pass",
        IN_BUILD,
    ),
    Mutation(
        "a bundle is built over its source",
        COMPILER,
        "keep_apart(output, model, options.policy, options.router, options.calibration)",
        "pass",
        IN_BUILD,
    ),
    Mutation(
        "hashes are not compared", "clasp_trt/bundle/reader.py", "if digest != entry.sha256:", "if False:", IN_BUNDLE
    ),
    Mutation(
        "a new bundle is not verified",
        "clasp_trt/bundle/writer.py",
        "staged.verify(",
        "(lambda progress: None)(",
        IN_BUNDLE,
    ),
    Mutation(
        "an older bundle is not put back",
        "clasp_trt/storage/leftovers.py",
        "os.rename(aside, destination)",
        "pass",
        IN_STORAGE,
    ),
    Mutation(
        "an output may be its input", "clasp_trt/storage/apart.py", "if _same(place, source):", "if False:", IN_STORAGE
    ),
    Mutation("a window of one more in a prompt", TOLD, "own - window + 1", "own - window", IN_TOLD),
    Mutation("a picture that sees itself in part", TOLD, "np.searchsorted(following, own)", "own", IN_TOLD),
    Mutation("a prefix in a window", TOLD, "np.zeros(rows, np.int64), np.full", "np.arange(rows), np.full", IN_TOLD),
    Mutation("a window of one more in a step", TOLD, '"right"', '"left"', IN_TOLD),
    Mutation("a window that the answer never leaves", TOLD, " + np.maximum(0, lost - self._next + 1)", "", IN_TOLD),
    Mutation("an end that does not move", PRUNE, MOVED, 'g.op("Concat", moved, end', IN_PRUNE),
    Mutation("a first that stays behind", PRUNE, MOVED, 'g.op("Concat", first, ended', IN_PRUNE),
    Mutation("a window that no layer has", SEGMENT, "            if slides:\n", "            if False:\n", IN_RANGES),
    Mutation("top_k without the equals at its edge", WARPERS, TOP_K, TOP_K.replace(">=", ">"), IN_LOGITS),
    Mutation("top_k of one more", WARPERS, TOP_K, TOP_K.replace(" - 1", ""), IN_LOGITS),
    Mutation("top_p of one more at its edge", WARPERS, TOP_P, TOP_P.replace("<", "<="), IN_LOGITS),
    Mutation("top_p with the token's own mass", WARPERS, TOP_P, TOP_P.replace(" - shares", ""), IN_LOGITS),
    Mutation("min_p without its edge", WARPERS, "shares >= share * shares[0]", "shares > share * shares[0]", IN_LOGITS),
    Mutation("min_p of all", WARPERS, "shares >= share * shares[0]", "shares >= share", IN_LOGITS),
    Mutation("typical_p of one more at its edge", WARPERS, TYPICAL, TYPICAL.replace("<", "<="), IN_LOGITS),
    Mutation("typical_p without the last", WARPERS, NEAREST, NEAREST.replace("<=", "<"), IN_LOGITS),
    Mutation(
        "typical_p by probability", WARPERS, "np.abs(surprise - _information(shares).sum())", "surprise", IN_LOGITS
    ),
    Mutation("epsilon without its edge", WARPERS, LIKELY, "(shares > least) | (shares == shares[0])", IN_LOGITS),
    Mutation("epsilon without the likeliest", WARPERS, LIKELY, "shares >= least", IN_LOGITS),
    Mutation("eta is the greater", WARPERS, "min(least, np.sqrt", "max(least, np.sqrt", IN_LOGITS),
    Mutation("top_h without its edge", WARPERS, "sums <= share * sums[-1]", "sums < share * sums[-1]", IN_LOGITS),
    Mutation("a vocabulary cut one token early", SAMPLING, "[-count]", "[1 - count]", IN_SAMPLING),
    Mutation("no temperature", SAMPLING, " / self.generation.temperature", "", IN_SAMPLING),
    Mutation("the last token is never drawn", SAMPLING, "tokens.size - 1)", "tokens.size - 2)", IN_SAMPLING),
    Mutation(
        "a penalty that rewards",
        PROCESSORS,
        "np.where(scores < 0, scores * penalty, scores / penalty)",
        "np.where(scores > 0, scores * penalty, scores / penalty)",
        IN_LOGITS,
    ),
    Mutation("a stop token too early", PROCESSORS, "if len(ids) < least", "if len(ids) < least - 1", IN_LOGITS),
    Mutation("a stop token too late", PROCESSORS, "if len(ids) < least", "if len(ids) <= least", IN_LOGITS),
    Mutation("a token forced too late", PROCESSORS, "if len(ids) == at:", "if len(ids) == at + 1:", IN_LOGITS),
    Mutation("a length penalised too late", PROCESSORS, "len(ids) > start:", "len(ids) > start + 1:", IN_LOGITS),
    Mutation(
        "n-grams one too long",
        PROCESSORS,
        "sliding_window_view(text, size)",
        "sliding_window_view(text, size + 1)",
        IN_LOGITS,
    ),
    Mutation(
        "places along an axis that are not those of pixels' middles",
        "runtime/media/processors/taps.py",
        "np.float32(0.5)) * scale - np.float32(0.5)",
        "np.float32(0.5)) * scale",
        IN_ANYRES,
    ),
    Mutation(
        "shrunk tokens that stand where cells of their number would",
        ANYRES,
        "cells(range(rows), range(columns)) * share",
        "cells(range(rows), range(columns))",
        IN_ANYRES,
    ),
    Mutation("a limit of areas in place of sides", "clasp_trt/tiling.py", "_SPARE = 1.1", "_SPARE = 1.21", IN_ANYRES),
    Mutation(
        "a clip without an end",
        "runtime/media/processors/clips.py",
        "self._process, self._last = processor(record.frame), processor(record.last)",
        "self._process, self._last = processor(record.frame), processor(record.frame)",
        IN_MIXED,
    ),
)
