"""FasterVLM: what [CLS] attends to, see :mod:`clasp_trt.methods.fastervlm`."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from clasp_trt.chain import port
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.methods.ranking import ascending, best, known
from clasp_trt.export.pruning.sizes import Sizes


def body(g: GraphBuilder, sizes: Sizes, read: Mapping[str, ir.Value]) -> tuple[ir.Value, ir.Value]:
    kept = ascending(g, sizes, best(g, sizes, known(g, read[port.CLS_SALIENCY])))
    return kept, g.op("GreaterOrEqual", kept, g.const(0))
