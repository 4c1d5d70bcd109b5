"""PyramidDrop: keep what the last token of the prompt attends to most, stage by stage.

After L. Xing et al., "PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy
Reduction", CVPR 2025, arXiv:2410.17247: the decoder is cut into stages, and at the end of each the visual tokens are
ranked by the attention that the last token of the instruction pays to them; a fixed share of them goes on.

Simplified: nothing in the selection, which is a stage's anyway. Counts and layers are the schedule's; the paper's, half
of the tokens after layers 8, 16 and 24 of 32, is one of those that can be given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clasp_trt.methods.interface import Method, Selection, View, ranked, selection


def raters(text: NDArray[np.float32], _: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The last row of ``text`` ``[rows, width]``: bool ``[rows]``."""
    rate = np.zeros(len(text), np.bool_)
    rate[-1] = True
    return rate


def select(view: View) -> Selection:
    """The ``keep`` tokens to which the last token attends most; each is a pivot."""
    best = ranked(view.saliency)[: view.keep]
    return selection(best, pivots=best)


PYRAMIDDROP = Method(
    "pyramiddrop", "keep what the last token of the prompt attends to", select, form="pyramiddrop", raters=raters
)
