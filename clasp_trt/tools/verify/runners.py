"""A stage on the same inputs by several Polygraphy runners, and how far their outputs lie apart."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.common import TensorMetadata
from polygraphy.comparator import Comparator, IterationResult, SimpleCompareFunc
from polygraphy.logger import G_LOGGER

Arrays = Mapping[str, NDArray[Any]]
Compute = Callable[[Arrays], Arrays]


class FunctionRunner(BaseRunner):  # type: ignore[misc]  # Polygraphy ships no types
    """Plain code as a Polygraphy runner with the inputs of a graph."""

    def __init__(self, name: str, inputs: TensorMetadata, compute: Compute) -> None:
        super().__init__(name=name)
        self._inputs, self._compute = inputs, compute

    def activate_impl(self) -> None:
        """Polygraphy's hook of ``activate``: nothing to load."""

    def deactivate_impl(self) -> None:
        """Polygraphy's hook of ``deactivate``."""

    def get_input_metadata_impl(self) -> TensorMetadata:
        """Names, dtypes and shapes of the graph's inputs."""
        return self._inputs

    def infer_impl(self, feed_dict: Arrays) -> dict[str, NDArray[Any]]:
        """Polygraphy's hook of ``infer``."""
        start = time.perf_counter()
        outputs = dict(self._compute(feed_dict))
        self.inference_time = time.perf_counter() - start
        return outputs


def run(runners: Sequence[BaseRunner], feed: Arrays) -> list[dict[str, NDArray[Any]]]:
    """The outputs of each runner on ``feed``; every runner is let go before the next is loaded."""
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        results = Comparator.run(list(runners), data_loader=[dict(feed)])
    return [dict(iterations[0].items()) for _, iterations in results]


def largest_difference(expected: NDArray[Any], found: NDArray[Any]) -> float:
    """Largest absolute difference, by Polygraphy's comparison; NaN if a value is not finite or the shapes differ."""
    if expected.shape != found.shape or not (_finite(expected) and _finite(found)):
        return math.nan
    if expected.size == 0:
        return 0.0
    kind = np.int64 if expected.dtype == np.bool_ else expected.dtype
    expected, found = np.ascontiguousarray(expected, kind), np.ascontiguousarray(found, kind)
    compare = SimpleCompareFunc(atol=math.inf, rtol=0.0)
    # it also divides, by values that may be 0
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL), np.errstate(divide="ignore", invalid="ignore"):
        compared = compare(
            IterationResult({"output": expected}, runner_name="expected"),
            IterationResult({"output": found}, runner_name="found"),
        )
    return float(compared["output"].max_absdiff)


def _finite(array: NDArray[Any]) -> bool:
    return bool(np.isfinite(array).all())
