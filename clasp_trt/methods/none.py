"""No pruning: every token stays, whatever the schedule says. What every comparison starts from."""

from __future__ import annotations

import numpy as np

from clasp_trt.methods.interface import Method, Selection, View, selection


def select(view: View) -> Selection:
    """All tokens, none of them a pivot. The request then needs room in the caches for all of them."""
    return selection(np.arange(view.tokens))


NONE = Method("none", "keep every visual token", select, prunes=False)
