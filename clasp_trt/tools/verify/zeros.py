"""The zeros of a sparse bundle's decoder, read back from whatever form its graphs were lowered to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BundleError

_PACKED = "_by_output"
"""What a name ends with where 4-bit integers were laid out by output; those of matrices side by side are joined by
``+``."""
_MATRIX = re.compile(r"layers\.(\d+)\..+\.weight")


@dataclass(frozen=True)
class Counted:
    """``zeros`` of ``weights`` in the matrices of each of the decoder's layers, in their order."""

    layers: tuple[tuple[int, int], ...]

    @property
    def zeros(self) -> int:
        return sum(zeros for zeros, _ in self.layers)

    @property
    def weights(self) -> int:
        return sum(weights for _, weights in self.layers)

    def __str__(self) -> str:
        shares = [zeros / weights for zeros, weights in self.layers]
        return (
            f"{self.zeros / self.weights:.2%} of {self.weights} weights of the decoder's layers, "
            f"{min(shares):.1%} to {max(shares):.1%} by layer"
        )

    def to_json(self) -> dict[str, object]:
        """A JSON object."""
        return {"zeros": self.zeros, "weights": self.weights, "layers": [list(each) for each in self.layers]}


def counted(bundle: Bundle) -> Counted | None:
    """Those of a bundle that is sparse on purpose, None of another. Raises :class:`BundleError` if they are fewer than
    its manifest says, or not by its pattern."""
    sparse = bundle.manifest.sparse
    if sparse is None:
        return None
    found = [[0, 0] for _ in range(bundle.manifest.model.decoder.layers)]
    for names, zeros in _held(bundle):
        place = _MATRIX.fullmatch(names[0])
        assert place is not None, names
        layer = found[int(place[1])]
        layer[0] += int(zeros.sum())
        layer[1] += zeros.size
        if sparse.sparsity.pattern is not None:
            _check_pattern(bundle, names, zeros, sparse.sparsity.pattern)
    counts = Counted(tuple((zeros, weights) for zeros, weights in found))
    if counts.weights != sparse.weights or counts.zeros < sparse.zeros:
        raise BundleError(
            f"{bundle.root}: its graphs hold {counts.zeros} zeros among {counts.weights} weights of the decoder's "
            f"layers, and it says {sparse.zeros} among {sparse.weights} ({sparse.sparsity}); build it again"
        )
    return counts


def _check_pattern(bundle: Bundle, names: list[str], zeros: NDArray[np.bool_], pattern: tuple[int, int]) -> None:
    count, run = pattern
    if zeros.shape[1] % run or bool((zeros.reshape(-1, run).sum(1) < count).any()):
        raise BundleError(
            f"{bundle.root}: {names[0]} has {run} inputs side by side of which fewer than {count} are zero, and it "
            f"says {count}:{run}; build it again"
        )


def masks(bundle: Bundle, shapes: Mapping[str, tuple[int, int]]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Where each matrix of these names and ``shapes``, outputs and inputs, is zero, ``[outputs, inputs]``. Raises
    :class:`BundleError` if one is not there."""
    left = dict(shapes)
    for names, zeros in _held(bundle):
        first = 0
        for name in names:
            outputs, _ = left.pop(name, (0, 0))
            yield name, zeros[first : first + outputs]
            first += outputs
    if left:
        raise BundleError(f"{bundle.root}: its graphs lack the matrix {next(iter(left))}; build it again")


def _held(bundle: Bundle) -> Iterator[tuple[list[str], NDArray[np.bool_]]]:
    """The matrices of the decoder's graphs, those that lie in one tensor together, and where they are zero,
    ``[outputs, inputs]``."""
    for segment in bundle.manifest.segments:
        graph = bundle.graph(segment.graph)
        for stored, value in ir.load(bundle.path(graph.path)).graph.initializers.items():
            names = stored.removesuffix(_PACKED).split("+")
            tensor = value.const_value
            if tensor is None or not all(map(_MATRIX.fullmatch, names)) or len(tensor.shape) < 2:
                continue
            yield names, _zeros(tensor, is_packed=stored.endswith(_PACKED))


def _zeros(tensor: ir.TensorProtocol, *, is_packed: bool) -> NDArray[np.bool_]:
    raw = tensor.numpy()
    if not is_packed:
        return np.ascontiguousarray((raw == 0).T)
    halves = np.stack([raw & 0x0F, raw >> 4], axis=-1).reshape(len(raw), -1)
    found: NDArray[np.bool_] = halves == 8
    return found
