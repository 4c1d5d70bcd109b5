"""VisPruner: keep what the vision tower attends to, and of the rest what has no double.

After Q. Zhang et al., "Beyond Text-Visual Attention: Exploiting Visual Cues for Effective Token Pruning in VLMs", ICCV
2025, arXiv:2412.01818v3: half of the tokens are important, those to which [CLS] attends most. The others are what is
left of the rest, in the order of that attention, when duplicates are taken away: every second token is compared with
those between, and the eight that resemble one of them most go; what is left of the former, the most alike first, and
then the latter are the next turn's order, until so many are left as are wanted.

Simplified: nothing in the selection, but that similarities are those of projected tokens, where the paper takes the
tower's; and the paper prunes once, before the decoder, where here every stage does. The paper's ties are settled: of
tokens that resemble others equally, the one of the highest index goes. A token without a direction is the last choice.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from clasp_trt.methods.interface import Method, Selection, View, ranked, selection, usable

IMPORTANT = Fraction(1, 2)
"""The share of important tokens, rounded down."""
AT_ONCE = 8
"""How many duplicates go in a turn."""
NOTHING = -2.0
"""The similarity to no token at all, below that to any."""


def select(view: View) -> Selection:
    """Important tokens, which are the pivots, and those of the rest that have no double."""
    order = ranked(usable(view.cls_saliency, view.valid))
    important = order[: int(view.keep * IMPORTANT)]
    rest = order[len(important) :]
    apart = distinct(view.gram, rest[view.valid[rest]], view.keep - len(important))
    spare = rest[~view.valid[rest]][: view.keep - len(important) - len(apart)]
    return selection(np.concatenate([important, apart, spare]), pivots=important)


def distinct(gram: NDArray[np.float32], order: NDArray[np.int64], keep: int) -> NDArray[np.int64]:
    """What is left of ``order`` when duplicates went, ``keep`` tokens unless there are fewer."""
    while len(order) > keep:
        these, those = order[::2], order[1::2]
        closest = gram[np.ix_(these, those)].max(axis=1, initial=NOTHING)
        alike = these[np.lexsort((-these, -closest))]
        order = np.concatenate([alike[min(AT_ONCE, len(order) - keep) :], those])
    return order


VISPRUNER = Method(
    "vispruner",
    "keep what [CLS] attends to and what of the rest has no double",
    select,
    form="vispruner",
)
