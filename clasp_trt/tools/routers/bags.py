"""Many prompts' features in one array, as a model is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clasp_trt.runtime.routing.features import features


@dataclass(frozen=True, eq=False)
class Bags:
    """The features of ``n`` prompts, one after another.

    Attributes:
        ids: int64 ``[m]``, buckets.
        weights: float32 ``[m]``.
        starts: int64 ``[n + 1]``; prompt ``i`` has the features from ``starts[i]`` to ``starts[i + 1]``, at least one.
    """

    ids: NDArray[np.int64]
    weights: NDArray[np.float32]
    starts: NDArray[np.int64]

    @staticmethod
    def of(prompts: Sequence[str], buckets: int) -> Bags:
        """Those of ``prompts``, at least one."""
        found = [features(prompt, buckets) for prompt in prompts]
        return Bags(
            np.concatenate([bag.ids for bag in found]),
            np.concatenate([bag.weights for bag in found]),
            np.cumsum([0, *(len(bag.ids) for bag in found)], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, rows: NDArray[np.int64]) -> Bags:
        """The prompts ``rows``, in that order."""
        counts = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(counts)])
        places = np.arange(starts[-1]) + np.repeat(self.starts[rows] - starts[:-1], counts)
        return Bags(self.ids[places], self.weights[places], starts)
