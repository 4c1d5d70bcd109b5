"""FasterVLM: keep what the vision tower's [CLS] token attends to.

After Q. Zhang et al., "[CLS] Attention is All You Need for Training-Free Visual Token Pruning: Make VLM Inference
Faster", arXiv:2412.01818v1: visual tokens are ranked by the attention that [CLS] pays to them in the tower, averaged
over heads, and the first of them stay.

Simplified: nothing in the selection. The paper prunes once, before the decoder; here every stage does it, by the same
[CLS] saliency, so that the last stage alone decides which tokens are left.
"""

from __future__ import annotations

from clasp_trt.methods.interface import Method, Selection, View, ranked, selection


def select(view: View) -> Selection:
    """The top of the [CLS] saliency; all of them are pivots."""
    kept = ranked(view.cls_saliency)[: view.keep]
    return selection(kept, pivots=kept)


FASTERVLM = Method("fastervlm", "keep what [CLS] attends to", select, form="fastervlm")
