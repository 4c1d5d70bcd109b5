"""What a pruning method may look at, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clasp_trt.chain.selections import READS

Selection = tuple[NDArray[np.int64], NDArray[np.bool_]]
"""``(kept, is_pivot)``: int64 ``[keep]``, ascending indices into the stage's tokens, and bool ``[keep]``, true for
those kept for the attention that they receive and false for those kept for any other reason."""


@dataclass(frozen=True, eq=False)
class View:
    """One stage as a method sees it, with the ``tokens`` visual tokens that earlier stages left.

    - ``saliency``, float32 ``[tokens]``: attention that each token receives from the reference rows, or from [CLS] for
      a stage before the decoder;
    - ``gram``, float32 ``[tokens, tokens]``: cosine similarities as :func:`clasp_trt.ops.token_gram` makes them;
    - ``cls_saliency``, float32 ``[tokens]``: attention of the vision tower's [CLS] token;
    - ``boxes``, float32 ``[tokens, 4]``: left, top, right and bottom of what each token stands for, in pixels of the
      image as the model saw it, further images to the right of it; NaN for a token that stands for no place;
    - ``extent``: left, top, right and bottom of what the boxes of all images cover together;
    - ``keep``: how many to keep; ``pivot_count``: how many of them CLASP keeps as pivots; ``stage``: from 0.
    """

    saliency: NDArray[np.float32]
    gram: NDArray[np.float32]
    cls_saliency: NDArray[np.float32]
    boxes: NDArray[np.float32]
    extent: tuple[float, float, float, float]
    keep: int
    pivot_count: int
    stage: int

    @property
    def tokens(self) -> int:
        return len(self.saliency)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """False for a token whose row was zero or not finite; such a token is the last choice."""
        valid: NDArray[np.bool_] = np.diagonal(self.gram) != 0
        return valid


Raters = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.bool_]]
"""Picks the text rows that rate, bool ``[rows]``, from embedded text ``[rows, width]`` and visual tokens ``[tokens,
width]``; at least one does."""


@dataclass(frozen=True)
class Method:
    """A pruning method.

    ``select`` keeps exactly ``min(view.keep, view.tokens)`` tokens, or all unless it ``prunes``; it is a function of
    its view alone. ``summary`` is one line for a person. The rest says what surrounds the selection:

    - ``fused``: visual tokens mix vision layers as the policy says; otherwise they are those of the one layer that the
      checkpoint reads by itself;
    - ``form``: the compiled selection that is this one, of :data:`clasp_trt.chain.selections.READS`: in a bundle that
      was built for it the prune graphs choose, and ``select`` is not called. None: it chooses on the host always, and
      looks at ``host_reads`` of what graphs give;
    - ``completes``: kept tokens that are no pivots are medoids, which stand for what pivots leave out;
    - ``raters``: which text rows make the saliency; None for all the text after the last image.
    """

    name: str
    summary: str
    select: Callable[[View], Selection]
    fused: bool = False
    form: str | None = None
    host_reads: frozenset[str] = frozenset()
    prunes: bool = True
    completes: bool = False
    raters: Raters | None = None

    @property
    def reads(self) -> frozenset[str]:
        """What ``select`` looks at of what graphs give: names of ports."""
        return self.host_reads if self.form is None else READS[self.form]

    def count(self, tokens: int, keep: int) -> int:
        """How many of ``tokens`` visual tokens a stage of ``keep`` leaves."""
        return min(tokens, keep) if self.prunes else tokens

    @property
    def needs_stages(self) -> bool:
        """Whether it is nothing of its own on a bundle that does not prune: its selection is all that it changes."""
        return self.prunes and not self.fused


def ranked(score: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Indices, best first: valid ones (all, if nothing is said), then the highest score, then the lowest index. NaN
    counts as minus infinity."""
    known = np.where(np.isnan(score), -np.inf, score)
    last = np.zeros(len(score), np.bool_) if valid is None else ~valid
    return np.lexsort((np.arange(len(score)), -known, last)).astype(np.int64)


def usable(score: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """``score`` of what is ``valid``, no less than the least number; minus infinity of what is not, where all are
    equal."""
    known = np.maximum(np.where(np.isnan(score), -np.inf, score), np.finfo(np.float32).min)
    return np.where(valid, known, -np.inf).astype(np.float32)


def selection(kept: NDArray[np.int64], *, pivots: NDArray[np.int64] | None = None) -> Selection:
    """``kept`` in ascending order, with those marked that are among ``pivots``."""
    ordered = np.sort(kept).astype(np.int64)
    return ordered, np.isin(ordered, [] if pivots is None else pivots)
