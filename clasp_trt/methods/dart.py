"""DART: keep a few pivots, and the tokens that duplicate them least.

After Z. Wen et al., "Stop Looking for 'Important Tokens' in Multimodal Language Models: Duplication Matters More",
EMNLP 2025, arXiv:2502.11494: a few pivot tokens are chosen, and each of them in turn retains, of the tokens not yet
taken, an equal share with the lowest duplication (cosine similarity) to it.

Simplified: pivots are the :data:`PIVOTS` most salient visual tokens instead of those with the largest norm of their
keys, which no graph gives out; there are no text pivots, for the similarities are those of visual tokens; these are the
projected tokens instead of hidden states of the decoder; and every stage repeats it on what is left.
"""

from __future__ import annotations

import numpy as np

from clasp_trt.methods.interface import Method, Selection, View, ranked, selection, usable

PIVOTS = 4
"""As many as the released scripts take of the image; their 4 text pivots have no counterpart here."""


def select(view: View) -> Selection:
    """Pivots and least duplicates. Where shares cannot be equal, the more salient pivots take one token more."""
    pivots = ranked(usable(view.saliency, view.valid))[: min(PIVOTS, view.keep)]
    left = np.ones(view.tokens, dtype=np.bool_)
    left[pivots] = False
    extra = min(view.keep, view.tokens) - len(pivots)
    for number, pivot in enumerate(pivots):
        share = extra // len(pivots) + (number < extra % len(pivots))
        order = ranked(-view.gram[pivot], view.valid)
        left[order[left[order]][:share]] = False
    return selection(np.flatnonzero(~left), pivots=pivots)


DART = Method("dart", "keep a few pivots and the tokens that duplicate them least", select, form="dart")
