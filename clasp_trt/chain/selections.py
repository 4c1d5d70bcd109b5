"""The selections that prune graphs can be made for, by the name of their method, and what each of them reads."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from clasp_trt.chain import port

DEFAULT = "clasp"

READS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "fastv": frozenset({port.SALIENCY}),
        "divprune": frozenset({port.GRAM}),
        "dart": frozenset({port.SALIENCY, port.GRAM}),
        "visionzip": frozenset({port.CLS_SALIENCY}),
        "fastervlm": frozenset({port.CLS_SALIENCY}),
        "vispruner": frozenset({port.CLS_SALIENCY, port.GRAM}),
        "cdpruner": frozenset({port.SALIENCY, port.GRAM}),
        "pyramiddrop": frozenset({port.SALIENCY}),
        "sparsevlm": frozenset({port.SALIENCY, port.GRAM}),
        DEFAULT: frozenset({port.SALIENCY, port.GRAM, port.PIVOT_COUNT}),
    }
)
"""Ports of a prune graph beside the rows that it narrows. Graphs give what is read, and nothing else:

- ``saliency``, the attention that the layer before the stage pays to each visual token: without it no segment says so;
- ``gram``, similarities of the visual tokens: without it there is no such graph;
- ``cls_saliency``, the attention of the tower's [CLS], which follows the tokens from stage to stage;
- ``pivot_count``, how many tokens the policy keeps for their saliency.
"""

RATED = frozenset({"pyramiddrop", "sparsevlm"})
"""Those whose saliency is of certain rows of the prompt, so that they stand in the decoder alone."""
