"""VisionZip: keep what the vision tower attends to, and an even sample of the rest.

After S. Yang et al., "VisionZip: Longer is Better but Not Necessary in Vision Language Models", CVPR 2025,
arXiv:2412.04467: dominant tokens are those to which [CLS] attends most; contextual tokens are sampled evenly from the
rest, which is merged into them by the similarity of keys. Of 64 tokens 54 are dominant and 10 contextual, and so in
proportion for 128 and 192.

Simplified: nothing is merged, because what a stage keeps are indices of tokens as they are; a contextual token stands
for itself. The paper prunes once, before the decoder; here every stage repeats it on what is left, by the same
[CLS] saliency, which is also why the question does not matter.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from clasp_trt.methods.interface import Method, Selection, View, ranked, selection

CONTEXTUAL = Fraction(5, 32)
"""The share of contextual tokens, rounded down: 10 of 64."""


def select(view: View) -> Selection:
    """Dominant tokens, which are the pivots, and contextual ones at equal steps of the rest."""
    contextual = int(view.keep * CONTEXTUAL)
    dominant = ranked(view.cls_saliency)[: view.keep - contextual]
    rest = np.delete(np.arange(view.tokens), dominant)
    step = max(1, len(rest) // max(1, contextual))
    return selection(np.concatenate([dominant, rest[::step][:contextual]]), pivots=dominant)


VISIONZIP = Method(
    "visionzip",
    "keep what [CLS] attends to and an even sample of the rest",
    select,
    form="visionzip",
)
