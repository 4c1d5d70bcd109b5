"""Uniform pruning: an even two-dimensional lattice over the image, which looks at nothing but places.

With ``R`` tokens to keep of an image ``H`` high and ``W`` wide, the lattice has ``r = round(sqrt(R H / W))`` lines, at
most ``R`` and at least 1; the ``R`` points are dealt to the lines as evenly as whole numbers allow and stand evenly on
each. Every point, line by line, takes the nearest token that is left (Euclidean distance of centers). A later stage
lays its own, coarser lattice over the whole image and takes from what the earlier ones kept.
"""

from __future__ import annotations

import math

import numpy as np

from clasp_trt.methods.interface import Method, Selection, View, selection


def select(view: View) -> Selection:
    """The tokens nearest to the points of the lattice; none is a pivot. Equal distances go to the lowest index, and
    tokens without a place are the last choice."""
    left, top, right, bottom = view.extent
    width, height = right - left, bottom - top
    boxes = view.boxes.astype(np.float64)
    x, y = boxes[:, 0] + boxes[:, 2] - 2 * left, boxes[:, 1] + boxes[:, 3] - 2 * top  # twice the centers
    keep = min(view.keep, view.tokens)
    lines = min(max(round(math.sqrt(keep * height / width)) if width else 1, 1), keep)
    taken = np.zeros(view.tokens, dtype=np.bool_)
    for line in range(lines):
        points = keep * (line + 1) // lines - keep * line // lines
        # distances in half pixels over `lines * points`: whole numbers where boxes are, so that ties are exact
        down = (y * lines - (2 * line + 1) * height) * points
        for point in range(points):
            across = (x * points - (2 * point + 1) * width) * lines
            far = np.nan_to_num(down**2 + across**2, nan=np.finfo(np.float64).max)
            taken[np.argmin(np.where(taken, np.inf, far))] = True
    return selection(np.flatnonzero(taken))


UNIFORM = Method("uniform", "keep an even lattice over the patch grid", select)
