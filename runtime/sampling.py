"""The next token from a row of logits: greedy, or a seeded draw."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clasp_trt.errors import BackendError, PromptError


class OverflowedError(BackendError):
    """Logits that are no numbers; ``what`` says which."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the decoder returned {what}: the computation overflowed; "
            "try another precision (fp32, or bf16 instead of fp16)"
        )


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. The defaults are greedy decoding.

    Attributes:
        temperature: divides the logits; 0 is greedy, whatever the other fields say.
        top_p: keep the fewest most likely tokens whose probabilities, after temperature and `top_k`, sum to
            at least this.
        top_k: keep this many most likely tokens (and their equals at the edge); 0 keeps all.
        seed: of the generator (PCG64); None draws one from the operating system.

    Raises:
        PromptError: a field out of range. These values arrive with a prompt, so they are a mistake of its
            author.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not _is_real(self.temperature) or not 0 <= self.temperature <= 100:
            raise PromptError(f"temperature is {self.temperature!r}; expected 0 (greedy) to 100")
        if not _is_real(self.top_p) or not 0 < self.top_p <= 1:
            raise PromptError(f"top_p is {self.top_p!r}; expected above 0 and at most 1 (off)")
        if not _is_whole(self.top_k):
            raise PromptError(f"top_k is {self.top_k!r}; expected a whole number, 0 for off")
        if self.seed is not None and not _is_whole(self.seed):
            raise PromptError(f"seed is {self.seed!r}; expected a whole number, 0 or more")


class Sampler:
    """Draws token after token; equal settings, an equal seed and equal logits give equal tokens."""

    def __init__(self, sampling: Sampling | None = None) -> None:
        self.sampling = Sampling() if sampling is None else sampling
        self._generator = np.random.Generator(np.random.PCG64(self.sampling.seed))

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.sampling.temperature == 0

    def next(self, logits: NDArray[np.float32]) -> int:
        """Choose from `logits`, float32 ``[vocab]``; minus infinity forbids a token. Equal logits: the lowest
        index.

        Raises:
            BackendError: `logits` is not one row, holds NaN or plus infinity, or forbids every token.
        """
        if logits.ndim != 1 or logits.size == 0:
            raise BackendError(f"the decoder returned logits of shape {logits.shape}; expected [vocab]")
        best = int(np.argmax(logits))  # NaN wins an argmax, and so does plus infinity: one look finds any
        if not math.isfinite(logits[best]):
            raise OverflowedError(f"{logits[best]} as its largest logit")
        if self.greedy:
            return best
        tokens, probabilities = self.distribution(logits)
        edges = np.cumsum(probabilities)
        at = int(np.searchsorted(edges, self._generator.random() * edges[-1], side="right"))
        return int(tokens[min(at, tokens.size - 1)])  # the product may round up to the last edge itself

    def distribution(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """What :meth:`next` draws from at a temperature above 0, for valid `logits`.

        Returns:
            The tokens kept, int64 ``[kept]``, most likely first, and their probabilities, float64 ``[kept]``,
            sum 1.
        """
        order = np.argsort(-logits, kind="stable")
        ranked = logits[order].astype(np.float64)
        keep = int(np.count_nonzero(ranked > -np.inf))
        if 0 < self.sampling.top_k < keep:
            keep = int(np.count_nonzero(ranked >= ranked[self.sampling.top_k - 1]))
        with np.errstate(over="ignore"):  # a tiny temperature sends the others to minus infinity, which is right
            weights = np.exp((ranked[:keep] - ranked[0]) / self.sampling.temperature)
        probabilities = weights / weights.sum()
        if self.sampling.top_p < 1:
            below = np.cumsum(probabilities) - probabilities  # the mass before each token: the first always stays
            keep = int(np.count_nonzero(below < self.sampling.top_p))
            probabilities = probabilities[:keep] / probabilities[:keep].sum()
        return order[:keep].astype(np.int64), probabilities


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
