"""CLASP: pivots, and medoids of what they leave out (Eqs. 11-18), as calls of the two operators of domain ``clasp``."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from clasp_trt.chain import port
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.sizes import Sizes
from clasp_trt.operators import DOMAIN, PIVOT_SELECT, PLUGIN_NAMESPACE, SPHERICAL_KMEANS
from clasp_trt.ops import ITERATIONS


def body(g: GraphBuilder, sizes: Sizes, read: Mapping[str, ir.Value]) -> tuple[ir.Value, ir.Value]:
    """Attributes and namespace speak to TensorRT's plugins; the bodies are made for these very values."""
    pivots = g.op(
        PIVOT_SELECT.name, read[port.SALIENCY], read[port.PIVOT_COUNT], *sizes.operands, domain=DOMAIN,
        **sizes.attributes, plugin_namespace=PLUGIN_NAMESPACE, plugin_version=str(PIVOT_SELECT.version),
    )  # fmt: skip
    kept, is_pivot = g.ops(
        SPHERICAL_KMEANS.name, read[port.GRAM], pivots, *sizes.operands, outputs=2, domain=DOMAIN, **sizes.attributes,
        iterations=ITERATIONS, plugin_namespace=PLUGIN_NAMESPACE, plugin_version=str(SPHERICAL_KMEANS.version),
    )  # fmt: skip
    return kept, is_pivot
