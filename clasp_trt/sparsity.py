"""Which weights of a decoder are zero, as a build is asked for it and a manifest says it.

What can be zero are the matrices of the decoder's layers. Every output of a matrix keeps the same number of its inputs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from clasp_trt.errors import SparsityError

TAMP, WANDA, MAGNITUDE = SCORES = ("tamp", "wanda", "magnitude")
"""How weights are chosen: by magnitudes times the norms of what representative tokens bring to them, and layers by
diversity (arXiv:2504.09897); by those of all tokens, layers alike (arXiv:2306.11695); by magnitudes alone."""
PATTERNS = ((2, 4), (4, 8))
"""Of so many inputs that lie side by side, the second, so many are zero, the first."""
LEAST, MOST = Fraction("0.05"), Fraction("0.95")
SPREAD = Fraction("0.1")
"""By how much a matrix may have a larger share of zeros than asked for."""

_SHARE = re.compile(r"(0?\.\d{1,4})")
_PATTERN = re.compile(r"(\d+):(\d+)")


@dataclass(frozen=True)
class Sparsity:
    """A ``share`` of zeros, those of every run of inputs by a ``pattern`` if there is one, chosen by ``scores``, one of
    :data:`SCORES`."""

    share: Fraction
    pattern: tuple[int, int] | None = None
    scores: str = TAMP

    @property
    def asked(self) -> str:
        """The share or the pattern, as an option gives it."""
        return f"{float(self.share):g}" if self.pattern is None else "{}:{}".format(*self.pattern)

    @property
    def is_calibrated(self) -> bool:
        """Whether it takes questions to choose."""
        return self.scores != MAGNITUDE

    @property
    def most(self) -> Fraction:
        """The greatest share of a matrix where shares differ by layer: it always leaves some weights."""
        return self.share + min(SPREAD, (1 - self.share) / 2)

    def __str__(self) -> str:
        return f"{self.asked} by {self.scores}"


@dataclass(frozen=True)
class Sparse:
    """What became of it: ``zeros`` of the decoder's ``weights`` were chosen, by ``rows`` questions with ``tokens``
    tokens of the file with the SHA-256 ``data``, or by none: then that is None and these are 0."""

    sparsity: Sparsity
    zeros: int
    weights: int
    data: str | None = None
    rows: int = 0
    tokens: int = 0

    def __str__(self) -> str:
        by = "" if self.data is None else f", by {self.rows} questions of {self.data[:12]}, {self.tokens} tokens"
        return f"{self.sparsity}: {self.zeros / self.weights:.1%} of {self.weights / 1e6:.1f} M are zero{by}"


def zeros_of(inputs: int, share: Fraction | float) -> int:
    """How many of the ``inputs`` of an output are zero for a ``share`` of them: the number next to it."""
    return int(inputs * share + Fraction(1, 2)) if isinstance(share, Fraction) else int(inputs * share + 0.5)


def parse(text: str) -> Sparsity:
    """What ``--sparsity`` says, such as ``0.5``, ``2:4`` or ``2:4,magnitude``. Raises :class:`SparsityError`."""
    asked, has_scores, scores = (piece.strip() for piece in text.partition(","))
    if has_scores and scores not in SCORES:
        raise _wrong(text, f"there is no way to choose by {scores[:40]!r}")
    chosen = scores or TAMP
    if found := _PATTERN.fullmatch(asked):
        pattern = int(found[1]), int(found[2])
        if pattern not in PATTERNS:
            raise _wrong(text, f"there is no pattern {asked[:20]}")
        return Sparsity(Fraction(*pattern), pattern, chosen)
    share = Fraction(asked) if _SHARE.fullmatch(asked) else None
    if share is None or not LEAST <= share <= MOST:
        raise _wrong(text, f"{asked[:40]!r} is no share of zeros")
    return Sparsity(share, None, chosen)


def check_questions(sparsity: Sparsity | None, data: object) -> None:
    """Raises :class:`SparsityError` for a choice by questions, of which there is no file ``data``."""
    if sparsity is not None and sparsity.is_calibrated and data is None:
        raise SparsityError(
            f"--sparsity {sparsity.asked} chooses weights by what questions give the decoder: give some with "
            f"--calibration D.jsonl, or choose by magnitude, --sparsity {sparsity.asked},{MAGNITUDE}"
        )


def _wrong(text: str, problem: str) -> SparsityError:
    patterns = " or ".join("{}:{}".format(*each) for each in PATTERNS)
    return SparsityError(
        f"--sparsity {text[:60]!a}: {problem}; expected a decimal from {float(LEAST):g} to {float(MOST):g}, such as "
        f"0.5, or {patterns}, then perhaps a comma and one of {', '.join(SCORES)}"
    )
