"""FastV: keep what is attended to most.

After L. Chen et al., "An Image is Worth 1/2 Tokens After Layer 2: Plug-and-Play Inference Acceleration for Large
Vision-Language Models", ECCV 2024, arXiv:2403.06764. There, after layer K = 2, image tokens are ranked by the attention
that they receive (averaged over heads; the released code reads the row of the last token) and the lowest R % dropped.

Simplified: the attention is the bundle's saliency, a mean over all the text after the image instead of its last row;
the ranking is repeated at every stage of the schedule instead of made once; before the decoder it is that of [CLS].
"""

from __future__ import annotations

from clasp_trt.methods.interface import Method, Selection, View, ranked, selection


def select(view: View) -> Selection:
    """The ``keep`` most salient tokens; each is a pivot."""
    best = ranked(view.saliency)[: view.keep]
    return selection(best, pivots=best)


FASTV = Method("fastv", "keep the tokens that the text attends to most", select, form="fastv")
