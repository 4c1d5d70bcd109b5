"""Pruning methods under one roof: each chooses tokens by its own rule, on the same bundle and schedule.

One file and one numpy definition per method, named after the paper that it follows. ``docs/methods.md`` compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from clasp_trt.errors import MethodError
from clasp_trt.methods.cdpruner import CDPRUNER
from clasp_trt.methods.clasp import CLASP, CLASP_FIXED
from clasp_trt.methods.dart import DART
from clasp_trt.methods.divprune import DIVPRUNE
from clasp_trt.methods.fastervlm import FASTERVLM
from clasp_trt.methods.fastv import FASTV
from clasp_trt.methods.interface import Method, Raters, Selection, View
from clasp_trt.methods.none import NONE
from clasp_trt.methods.pyramiddrop import PYRAMIDDROP
from clasp_trt.methods.random import RANDOM
from clasp_trt.methods.sparsevlm import SPARSEVLM
from clasp_trt.methods.uniform import UNIFORM
from clasp_trt.methods.visionzip import VISIONZIP
from clasp_trt.methods.vispruner import VISPRUNER

__all__ = ["DEFAULT", "METHODS", "Method", "Raters", "Selection", "View", "get"]

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            NONE,
            RANDOM,
            UNIFORM,
            FASTV,
            DIVPRUNE,
            DART,
            VISIONZIP,
            FASTERVLM,
            VISPRUNER,
            CDPRUNER,
            PYRAMIDDROP,
            SPARSEVLM,
            CLASP_FIXED,
            CLASP,
        )
    }
)
"""Every method by name: what does least first, CLASP last."""
DEFAULT = CLASP
"""The method of whoever names none."""


def get(name: str) -> Method:
    """The method called ``name``. Raises :class:`MethodError` with the nearest name, or with all of them."""
    if name not in METHODS:
        near = get_close_matches(name.lower(), METHODS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(METHODS)}"
        raise MethodError(f"unknown pruning method {name!r}; {hint}")
    return METHODS[name]
