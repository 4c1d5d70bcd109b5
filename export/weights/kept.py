"""Matrices that were rounded by calibration, in a folder until a graph is written: two files of numpy each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.export.graph import DTYPES


@dataclass(frozen=True, eq=False)
class Kept:
    """The matrix ``name`` of a graph, ``key`` on disk, ``[outputs, inputs]``, as a
    :class:`~clasp_trt.export.weights.packing.Packing` that lies in ``folder`` by the time it is read."""

    folder: Path
    name: str
    key: str
    shape: tuple[int, int]
    bits: int
    block: int | None
    by_input: bool = False
    has_zeros: bool = False
    floating: bool = False
    order: None = None

    def keep(self, values: NDArray[np.int8], scales: NDArray[np.float32]) -> None:
        """Puts the matrix there: ``[outputs, inputs]`` and ``[outputs, blocks]``, which the graph's type holds
        exactly."""
        np.save(self._path("values"), values)
        np.save(self._path("scales"), scales)

    def values(self, dtype: str) -> NDArray[np.int8]:
        found: NDArray[np.int8] = np.load(self._path("values"))
        return found

    def scales(self, dtype: str) -> NDArray[Any]:
        wide: NDArray[np.float32] = np.load(self._path("scales"))
        found: NDArray[Any] = wide.astype(DTYPES[dtype].numpy())
        if not np.array_equal(found.astype(np.float32), wide):
            raise ValueError(f"{self.name} was rounded for another type than {dtype}")
        return found

    def zeros(self) -> NDArray[np.int8]:
        raise ValueError(f"{self.key} is rounded symmetrically")

    def _path(self, what: str) -> Path:
        return self.folder / f"{self.name}.{what}.npy"


def fingerprint(values: NDArray[np.int8], scales: NDArray[np.float32]) -> str:
    """SHA-256 of integers ``[outputs, inputs]``, a byte each, and scales ``[outputs, blocks]`` in float32."""
    digest = hashlib.sha256(np.ascontiguousarray(values, np.int8).tobytes())
    digest.update(np.ascontiguousarray(scales, "<f4").tobytes())
    return digest.hexdigest()
