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
CAPACITY = "return context - (tokens - self.visual)"
SEEN = 'g.op("LessOrEqual", g.op("Unsqueeze", slots, g.const([0])), g.op("Unsqueeze", rows, g.const([1])))'
ROWS = 'rows = g.op("Add", g.op("Range", g.const(0), sequence, g.const(1)), self.inputs[port.WRITE_INDEX])'
ENDS = "ends = [rows * chunk // chunks for chunk in range(chunks + 1)]"
FILL = "outputs = self._fill(number, part, start, stop)"

IN_PROJECTOR, IN_CHAIN, IN_SEGMENT = ("tests/export/test_projector.py",), ("tests/chain",), ("tests/export/decoder",)
IN_DECODER, IN_BUILD = ("tests/runtime/test_decoder.py",), ("tests/tools/build",)
IN_BUNDLE, IN_STORAGE = ("tests/bundle/test_bundle.py",), ("tests/storage",)

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
    Mutation("a slot too few", CUTS, CAPACITY, f"{CAPACITY} - 1", IN_CHAIN),
    Mutation("a slot too many", CUTS, CAPACITY, f"{CAPACITY} + 1", IN_CHAIN),
    Mutation("slots as if nothing was pruned", CUTS, CAPACITY, "return context", IN_CHAIN),
    Mutation("slots for the visual tokens alone", CUTS, CAPACITY, "return context - tokens", IN_CHAIN),
    Mutation("a row does not see itself", SEGMENT, SEEN, SEEN.replace("LessOrEqual", "Less"), IN_SEGMENT),
    Mutation("a row sees what follows it", SEGMENT, SEEN, SEEN.replace("LessOrEqual", "GreaterOrEqual"), IN_SEGMENT),
    Mutation(
        "a step is masked as a prefill",
        SEGMENT,
        ROWS,
        ROWS.replace("self.inputs[port.WRITE_INDEX]", "g.const(0)"),
        IN_SEGMENT,
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
        "a chunk that is written to the first slots", DECODER, FILL, FILL.replace("start, stop", "0, stop"), IN_DECODER
    ),
    Mutation("a chunk that sees its own rows alone", DECODER, FILL, FILL.replace("stop", "stop - start"), IN_DECODER),
    Mutation(
        "a chunk with the positions of the first",
        DECODER,
        "for name in (port.HIDDEN, port.POSITION_IDS):",
        "for name in (port.HIDDEN,):",
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
        "keep_apart(output, model, options.policy, options.router)",
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
)
