"""Requests on their way through a decoder, in files: what goes with all layers, and what enters the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.chain import port
from clasp_trt.export.reference import Arrays


class Requests:
    """Requests as they enter a decoder's layer, in the files of ``folder``: what goes with all layers, and
    ``hidden``."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._hidden, self._count = folder, folder, 0

    def __len__(self) -> int:
        return self._count

    def add(self, feed: Arrays) -> None:
        """One more: the inputs of a decoder's segment by name, those that the model has."""
        others: dict[str, Any] = {name: feed[name] for name in feed if name != port.HIDDEN}
        np.savez(self._folder / f"{self._count}.npz", **others)
        self._count += 1
        self.go_on(self._count - 1, feed[port.HIDDEN])

    def branched(self, folder: Path) -> Requests:
        """The same requests, which go on in ``folder``, while these stay where they are."""
        found = Requests(self._folder)
        found._hidden, found._count = folder, self._count
        return found

    def __getitem__(self, number: int) -> dict[str, NDArray[Any]]:
        name = f"{number}.npy"
        path = self._hidden / name if (self._hidden / name).is_file() else self._folder / name
        with np.load(self._folder / f"{number}.npz") as others:
            return {**others, port.HIDDEN: np.load(path)}

    def go_on(self, number: int, hidden: NDArray[Any]) -> None:
        """Request ``number`` now enters the next layer as ``hidden`` ``[1, rows, width]``."""
        np.save(self._hidden / f"{number}.npy", hidden.astype(np.float32, copy=False))
