"""VisionZip: what [CLS] attends to, and an even sample of the rest, see :mod:`clasp_trt.methods.visionzip`."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from clasp_trt.chain import port
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.methods.ranking import among, best, first, known
from clasp_trt.export.pruning.sizes import Sizes
from clasp_trt.methods.visionzip import CONTEXTUAL


def body(g: GraphBuilder, sizes: Sizes, read: Mapping[str, ir.Value]) -> tuple[ir.Value, ir.Value]:
    saliency, keep = read[port.CLS_SALIENCY], sizes.keep(g)
    contextual = g.op("Div", g.op("Mul", keep, g.const([CONTEXTUAL.numerator])), g.const([CONTEXTUAL.denominator]))
    dominant = g.op("Sub", keep, contextual)
    is_dominant = first(g, sizes, best(g, sizes, known(g, saliency)), dominant, saliency)

    rest = g.op("Not", is_dominant)
    place = g.op("Sub", g.op("CumSum", g.cast(rest, "int64"), g.const(1)), g.const([1]))
    length = g.op("Sub", g.op("Shape", saliency, start=-1), dominant)
    step = g.op("Max", g.op("Div", length, g.op("Max", contextual, g.const([1]))), g.const([1]))
    falls = g.op("Equal", g.op("Mod", place, step), g.const([0]))
    early = g.op("Less", place, g.op("Mul", step, contextual))
    kept = among(g, sizes, g.op("Or", is_dominant, g.op("And", rest, g.op("And", falls, early))))
    return kept, g.op("GatherElements", is_dominant, kept, axis=1)
