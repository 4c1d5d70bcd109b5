"""Images to select from: every size, type and kind of token that the kernels promise to handle, from fixed seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from tests.engines.kernels.emulator import ARRAY, Array

DTYPES = ("float32", "float16", "bfloat16")
KINDS = ("noise", "smooth", "ties", "invalid", "extremes")
KEEP = {9: 9, 17: 6, 144: 48, 576: 192, 2880: 320, 4096: 512}
"""Tokens of an image, and how many of them are kept."""

_LARGEST = {"float16": 4.5, "bfloat16": 37.0, "float32": 37.0}  # magnitudes of "extremes" are 10**+-this


@dataclass(frozen=True)
class Case:
    """A batch of images, one for each number of ``pivots``; tokens of ``kind``, ``[batch, tokens, width]``."""

    tokens: int
    width: int
    dtype: str
    kind: str
    pivots: tuple[int, ...]

    def __str__(self) -> str:
        return f"{len(self.pivots)}x{self.tokens}x{self.width}-{self.dtype}-{self.kind}"

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
    def visual(self) -> Array:
        """The tokens."""
        rng = np.random.default_rng(self.seed)
        shape = (len(self.pivots), self.tokens, self.width)
        x = rng.standard_normal(shape)
        if self.kind == "smooth":  # neighbours resemble each other, as those of a picture do
            x = np.cumsum(x, axis=1) + 20 * rng.standard_normal((shape[0], 1, self.width))
        elif self.kind == "ties":
            x = x[:, rng.integers(0, max(2, self.tokens // 4), self.tokens)].round(1)
            x *= rng.choice([1.0, -1.0, 2.0], (1, self.tokens, 1))
        elif self.kind == "invalid":
            x[:, rng.random(self.tokens) < 0.2] = 0.0
            x[:, rng.random(self.tokens) < 0.1, 0] = np.nan
            x[:, rng.random(self.tokens) < 0.1, -1] = np.inf
        elif self.kind == "extremes":
            x *= 10.0 ** rng.uniform(-_LARGEST[self.dtype], _LARGEST[self.dtype], (*shape[:2], 1))
            x = np.clip(x, *_range(self.dtype))
        return x.astype(ARRAY[self.dtype])

    @cached_property
    def saliency(self) -> NDArray[np.float32]:
        """``[batch, tokens]``, with ties, zeros of both signs and values that are not finite."""
        rng = np.random.default_rng(self.seed + 1)
        phi = rng.standard_normal((len(self.pivots), self.tokens)).round(2)
        odd = rng.random(phi.shape) < 0.1
        phi[odd] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], int(odd.sum()))
        return phi.astype(np.float32)


def cases() -> list[Case]:
    """All cases, small images first."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    for dtype in DTYPES:
        yield Case(9, 64, dtype, "ties", ends(9))  # as many places as tokens
    for tokens in (17, 144):
        for dtype in DTYPES:
            for kind in KINDS:
                for width in (64, 200, 1001, 8192):
                    yield Case(tokens, width, dtype, kind, ends(tokens))
    for dtype in DTYPES:
        for kind in KINDS:
            yield Case(576, 4096, dtype, kind, ends(576))
    for dtype in DTYPES:
        yield Case(2880, 4096, dtype, "smooth", (224,))
        yield Case(2880, 64, dtype, "ties", (0,))
    for dtype in DTYPES:
        yield Case(4096, 8192, dtype, "smooth", (256,))
        yield Case(4096, 64, dtype, "ties", (0,))


def ends(tokens: int) -> tuple[int, ...]:
    """Three images: no pivots, some, and nothing but pivots."""
    return (0, KEEP[tokens] * 7 // 10, KEEP[tokens])


def _range(dtype: str) -> tuple[float, float]:
    largest = {"float16": 65504.0, "bfloat16": 3.3895e38, "float32": 3.4028234e38}[dtype]
    return -largest, largest
