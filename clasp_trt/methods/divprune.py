"""DivPrune: keep the tokens that differ most from one another.

After S. R. Alvar, G. Singh, M. Akbari and Y. Zhang, "DivPrune: Diversity-based Visual Token Pruning for Large
Multimodal Models", CVPR 2025, arXiv:2503.02175: the Max-Min Diversity Problem on the distance ``d(i, j) = 1 -
cos(i, j)``, solved greedily. The first token is the one farthest from its nearest neighbour; each next one is the token
farthest from the nearest of those already chosen (Eq. 3).

Simplified: nothing in the selection. The paper prunes once, before the decoder; here every stage solves the problem
anew among what is left, on the projected tokens that the paper uses too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clasp_trt.methods.interface import Method, Selection, View, selection


def select(view: View) -> Selection:
    """The greedy max-min subset; none is a pivot. Equal distances go to the lowest index."""
    valid = np.flatnonzero(view.valid)
    chosen = valid[diverse(view.gram[np.ix_(valid, valid)], view.keep)]
    spare = np.flatnonzero(~view.valid)[: view.keep - len(chosen)]
    return selection(np.concatenate([chosen, spare]))


def diverse(gram: NDArray[np.float32], keep: int) -> NDArray[np.int64]:
    """The first ``keep`` of the greedy order, in that order; all tokens of ``gram`` where there are no more."""
    nearest = gram.copy()  # the largest similarity is the smallest distance
    np.fill_diagonal(nearest, -np.inf)
    closest = nearest.max(axis=1, initial=-np.inf)
    chosen: list[int] = []
    while len(chosen) < min(keep, len(gram)):
        pick = int(np.argmin(closest))
        closest = gram[pick].copy() if not chosen else np.maximum(closest, gram[pick])
        chosen.append(pick)
        closest[chosen] = np.inf
    return np.array(chosen, dtype=np.int64)


DIVPRUNE = Method("divprune", "keep the tokens that differ most from one another", select, form="divprune")
