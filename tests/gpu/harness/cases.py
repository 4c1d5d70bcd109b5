"""Images to select from: every size and kind that the kernels promise to handle, from fixed seeds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from clasp_trt.ops import pivot_select, token_gram

KINDS = ("noise", "smooth", "ties", "invalid")
KEEP = {9: 9, 17: 6, 144: 48, 576: 192, 2880: 320, 4096: 512}
"""Tokens of an image, and how many of them are kept."""

_WIDTH = 64  # of the tokens that the similarities are of


@dataclass(frozen=True)
class Case:
    """A batch of images, one for each number of ``pivots``, with tokens of ``kind``."""

    tokens: int
    kind: str
    pivots: tuple[int, ...]

    def __str__(self) -> str:
        return f"{len(self.pivots)}x{self.tokens}-{self.kind}"

    @property
    def keep(self) -> int:
        return KEEP[self.tokens]

    @property
    def seed(self) -> int:
        return crc32(str(self).encode())

    @property
    def pivot_count(self) -> NDArray[np.int64]:
        return np.array(self.pivots, dtype=np.int64)

    @cached_property
    def gram(self) -> NDArray[np.float32]:
        """``[batch, tokens, tokens]``."""
        rng = np.random.default_rng(self.seed)
        shape = (len(self.pivots), self.tokens, _WIDTH)
        x = rng.standard_normal(shape)
        if self.kind == "smooth":  # neighbours resemble each other, as those of a picture do
            x = np.cumsum(x, axis=1) + 20 * rng.standard_normal((shape[0], 1, _WIDTH))
        elif self.kind == "ties":
            x = x[:, rng.integers(0, max(2, self.tokens // 4), self.tokens)].round(1)
            x *= rng.choice([1.0, -1.0, 2.0], (1, self.tokens, 1))
        elif self.kind == "invalid":
            x[:, rng.random(self.tokens) < 0.2] = 0.0
            x[:, rng.random(self.tokens) < 0.1, 0] = np.nan
            x[:, rng.random(self.tokens) < 0.1, -1] = np.inf
        return token_gram(x)

    @cached_property
    def saliency(self) -> NDArray[np.float32]:
        """``[batch, tokens]``, with ties, zeros of both signs and values that are not finite."""
        rng = np.random.default_rng(self.seed + 1)
        phi = rng.standard_normal((len(self.pivots), self.tokens)).round(2)
        odd = rng.random(phi.shape) < 0.1
        phi[odd] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], int(odd.sum()))
        return phi.astype(np.float32)

    @cached_property
    def marks(self) -> NDArray[np.bool_]:
        """The pivots of each image, ``[batch, tokens]``."""
        return pivot_select(self.saliency, self.pivot_count, self.keep)


def cases() -> list[Case]:
    """All cases, small images first."""
    found = [Case(9, "ties", ends(9))]  # as many places as tokens
    found += [Case(tokens, kind, ends(tokens)) for tokens in (17, 144, 576) for kind in KINDS]
    for tokens, pivots in (2880, 224), (4096, 256):  # sums in several planes
        found += [Case(tokens, "smooth", (pivots,)), Case(tokens, "ties", (0,))]
    return found


def ends(tokens: int) -> tuple[int, ...]:
    """Three images: no pivots, some, and nothing but pivots."""
    return (0, KEEP[tokens] * 7 // 10, KEEP[tokens])
