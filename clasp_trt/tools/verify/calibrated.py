"""Whether the integers of a calibrated bundle are those that the calibration made of the checkpoint's weights.

A calibration is not done again: what it made of each matrix, and by how much that changed the weights, stands in the
bundle. Integers that differ are found by their hash; those of other weights, by their change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from clasp_trt.bundle import Bundle, Graph, Segment, roundings
from clasp_trt.bundle.roundings import ROUNDINGS
from clasp_trt.errors import BundleError
from clasp_trt.export.weights.kept import fingerprint
from clasp_trt.tensors import FLOATS
from clasp_trt.tools.verify.integers import all_integers
from clasp_trt.tools.verify.report import Check

_TOLERANCE = 1e-6
"""Of a share that both sides sum in float64."""


class Calibrated:
    """The ``integers`` of a bundle's decoder, by the names of the matrices. Raises :class:`BundleError` where the
    graphs lack some of them."""

    def __init__(self, bundle: Bundle) -> None:
        self._made = roundings.read(bundle.path(ROUNDINGS))
        self._root, self._dtype = bundle.root, FLOATS[bundle.manifest.precision]
        self.integers = all_integers(bundle, {name: each.shape for name, each in self._made.items()}, ROUNDINGS)

    def checks(self, graph: Graph, segment: Segment, changed: Mapping[str, float]) -> Iterator[Check]:
        """Of each layer of a segment whether its integers are those that were made, which names the first matrix where
        they are not, and whether they changed the weights as much as then; ``changed`` is by how much they do."""
        for layer in range(segment.first_layer, segment.last_layer + 1):
            names = [name for name in changed if name.startswith(f"layers.{layer}.")]
            if not names or any(name not in self._made for name in names):
                raise BundleError(f"{self._root}: {ROUNDINGS} has not every matrix of layer {layer}; build it again")
            other = [name for name in names if self._fingerprint(name) != self._made[name].sha256]
            where = f"layer {layer} integers" + (f" ({other[0]})" if other else "")
            yield Check(graph.name, where, graph.path, len(other), len(other) / len(names), 0.0, 0.0)
            off = max(abs(changed[name] - self._made[name].changed) for name in names)
            yield Check(graph.name, f"layer {layer} rounding", graph.path, off, off, 0.0, _TOLERANCE)

    def _fingerprint(self, name: str) -> str:
        found = self.integers[name]
        return fingerprint(found.values(self._dtype), found.scales(self._dtype).astype(np.float32))
