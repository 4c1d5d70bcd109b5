"""The router's model: one row of scores per bucket, summed over a prompt's features, and a softmax.

Trained by minibatch Adagrad, which suits features of very different frequency: each bucket has its own steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clasp_trt.progress import Progress, silent
from clasp_trt.tools.routers.bags import Bags


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    Attributes:
        epochs: passes over all prompts.
        batch: prompts a step.
        rate: step size of Adagrad.
        decay: share of a bucket's scores that each epoch takes away (L2).
        dropout: share of a prompt's features that a step does not see, so that no single phrase decides.
        smoothing: probability that a label leaves to the other categories, so that scores stay finite.
    """

    epochs: int = 12
    batch: int = 256
    rate: float = 1.0
    decay: float = 0.0
    dropout: float = 0.6
    smoothing: float = 0.05


@dataclass(frozen=True, eq=False)
class Linear:
    """``scores`` float32 ``[buckets, categories]`` and ``bias`` float32 ``[categories]``."""

    scores: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, bags: Bags) -> NDArray[np.float32]:
        """float32 ``[prompts, categories]``."""
        return _sums(self.scores[bags.ids] * bags.weights[:, None], bags) + self.bias

    def rounded(self) -> Linear:
        """The same with scores that float16 can hold: what is written to the file."""
        return Linear(self.scores.astype(np.float16).astype(np.float32), self.bias)


def softmax(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities ``[prompts, categories]``."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit(
    bags: Bags,
    categories: NDArray[np.int64],
    *,
    buckets: int,
    count: int,
    seed: int,
    training: Training,
    progress: Progress = silent,
) -> Linear:
    """A model of ``bags`` with the right ``categories`` ``[prompts]``, numbers below ``count``.

    Equal arguments give equal scores, bit by bit, on one machine.
    """
    rng = np.random.default_rng(seed)
    scores, bias = np.zeros((buckets, count), np.float32), np.zeros(count, np.float32)
    score_squares, bias_squares = np.full((buckets, count), 1e-4, np.float32), np.full(count, 1.0, np.float32)
    target = np.full((count, count), training.smoothing / count, np.float32)
    np.fill_diagonal(target, 1 - training.smoothing + training.smoothing / count)
    for epoch in range(training.epochs):
        order = rng.permutation(len(bags))
        for start in range(0, len(order), training.batch):
            rows = order[start : start + training.batch]
            batch = _thinned(bags.take(rows), training.dropout, rng)
            error = softmax(Linear(scores, bias).logits(batch)).astype(np.float32) - target[categories[rows]]
            error /= len(rows)
            seen, gradient = _by_bucket(batch, error)
            score_squares[seen] += gradient * gradient
            scores[seen] -= training.rate * gradient / np.sqrt(score_squares[seen])
            slope = error.sum(axis=0)
            bias_squares += slope * slope
            bias -= training.rate * slope / np.sqrt(bias_squares)
        scores *= np.float32(1 - training.decay)
        progress("train", epoch + 1, training.epochs)
    return Linear(scores, bias)


def _sums(rows: NDArray[np.float32], bags: Bags) -> NDArray[np.float32]:
    return np.asarray(np.add.reduceat(rows, bags.starts[:-1], axis=0))


def _thinned(bags: Bags, dropout: float, rng: np.random.Generator) -> Bags:
    """``bags`` without some features, and the others weighing so much more; no bag is empty: its first may weigh 0."""
    kept = rng.random(len(bags.ids), dtype=np.float32) >= dropout
    weights = bags.weights * kept / np.float32(1 - dropout)
    kept[bags.starts[:-1]] = True
    return Bags(bags.ids[kept], weights[kept], np.concatenate([[0], np.cumsum(kept)[bags.starts[1:] - 1]]))


def _by_bucket(bags: Bags, error: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The buckets that occur, ascending, and the gradient of each ``[buckets, categories]``."""
    order = np.argsort(bags.ids, kind="stable")
    prompts = np.repeat(np.arange(len(bags)), np.diff(bags.starts))[order]
    ids = bags.ids[order]
    first = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    return ids[first], np.asarray(np.add.reduceat(error[prompts] * bags.weights[order][:, None], first, axis=0))
