"""SparseVLM: what its raters attend to, see :mod:`clasp_trt.methods.sparsevlm`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from clasp_trt.chain import port
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.methods.ranking import ascending, best, numbered, valid
from clasp_trt.export.pruning.sizes import Sizes


def body(g: GraphBuilder, sizes: Sizes, read: Mapping[str, ir.Value]) -> tuple[ir.Value, ir.Value]:
    """The saliency is of the raters already, which the host picks by the embedded prompt."""
    score = numbered(g, read[port.SALIENCY])
    chosen = best(g, sizes, g.op("Where", valid(g, sizes, read[port.GRAM]), score, g.const(-np.inf, "float32")))
    kept = ascending(g, sizes, chosen)
    return kept, g.op("GreaterOrEqual", kept, g.const(0))
