"""Uniform pruning: an even two-dimensional lattice over the patch grid, which looks at nothing but places.

With ``R`` to keep on ``H`` rows and ``W`` columns, the lattice has ``r = round(sqrt(R H / W))`` lines, at most ``R``
and at least 1; the ``R`` points are dealt to the lines as evenly as whole numbers allow and stand evenly on each. Every
point, line by line, takes the nearest token that is left (Euclidean distance of centers). A later stage lays its own,
coarser lattice over the whole grid and takes from what the earlier ones kept.
"""

from __future__ import annotations

import math

import numpy as np

from clasp_trt.methods.interface import Method, Selection, View, selection


def select(view: View) -> Selection:
    """The tokens nearest to the points of the lattice; none is a pivot. Equal distances go to the lowest index."""
    height, width = view.grid
    y, x = np.divmod(view.places, width)
    keep = min(view.keep, view.tokens)
    lines = min(max(round(math.sqrt(keep * height / width)), 1), keep)
    left = np.ones(view.tokens, dtype=np.bool_)
    for line in range(lines):
        points = keep * (line + 1) // lines - keep * line // lines
        # distances in units of half a patch over `lines * points`: whole numbers, so that ties are exact
        down = ((2 * y + 1) * lines - (2 * line + 1) * height) * points
        for point in range(points):
            across = ((2 * x + 1) * points - (2 * point + 1) * width) * lines
            far = np.where(left, down**2 + across**2, np.iinfo(np.int64).max)
            left[np.argmin(far)] = False
    return selection(np.flatnonzero(~left))


UNIFORM = Method("uniform", "keep an even lattice over the patch grid", select)
