"""The body of each selection that :data:`clasp_trt.chain.selections.READS` names, in standard operators, one file each.

A body appends nodes to a graph and returns ``kept`` int64 ``[1, keep]``, ascending indices of the stage's tokens, and
``is_pivot`` bool ``[1, keep]``. It reads values that are exact in float32 or compares them alone, and equal ones go to
the lowest index: so it keeps, index for index, what the definition in :mod:`clasp_trt.methods` of that name keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import onnx_ir as ir

from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.pruning.methods import (
    cdpruner,
    clasp,
    dart,
    divprune,
    fastervlm,
    fastv,
    sparsevlm,
    visionzip,
    vispruner,
)
from clasp_trt.export.pruning.selection import pivot_select, spherical_kmeans
from clasp_trt.export.pruning.sizes import Sizes

Body = Callable[[GraphBuilder, Sizes, Mapping[str, ir.Value]], tuple[ir.Value, ir.Value]]
"""Of a graph, the number of tokens, and what the method reads by the names of ports."""

BODIES: Mapping[str, Body] = MappingProxyType(
    {
        "fastv": fastv.body,
        "divprune": divprune.body,
        "dart": dart.body,
        "visionzip": visionzip.body,
        "fastervlm": fastervlm.body,
        "vispruner": vispruner.body,
        "cdpruner": cdpruner.body,
        "pyramiddrop": fastv.body,  # of the saliency of another row
        "sparsevlm": sparsevlm.body,
        "clasp": clasp.body,
    }
)
FUNCTIONS: Mapping[str, Sequence[Callable[[int | None, int | None], ir.Function]]] = MappingProxyType(
    {"clasp": (pivot_select, spherical_kmeans)}
)
"""Operators that a body calls, made for tokens and kept tokens, or for any number of them: of None."""
