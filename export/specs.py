"""What the description of a checkpoint knows of its tower and of its projector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from clasp_trt.bundle import VisionDims


class Tower(Protocol):
    """What an estimate asks of a vision tower, and a verification: which block its saliency is of."""

    @property
    def layers(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def feature_layer(self) -> int: ...
    @property
    def dims(self) -> VisionDims: ...
    @property
    def tokens(self) -> int:
        """Visual tokens of each of what it sees, at most."""

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most of them."""

    @property
    def rows(self) -> int:
        """Rows of a block for each of what it sees, at most."""

    @property
    def wide(self) -> int:
        """Numbers of a row that live at once in a block, beside the residual and its norm."""

    @property
    def parameters(self) -> int:
        """What the checkpoint stores."""

    @property
    def built_parameters(self) -> int:
        """What the exported graph holds."""

    @property
    def built_shapes(self) -> tuple[tuple[int, int], ...]:
        """Outputs and inputs of the matrices that the exported graph multiplies by, that of the patches apart."""

    def flops(self, rows: int) -> int:
        """Operations of a picture of ``rows`` rows."""

    def saliency_layer(self, layers: Sequence[int]) -> int:
        """The block, counted from 1, that the tower's saliency is read from where ``layers`` are exported."""


class Projector(Protocol):
    """What an estimate asks of a projector."""

    @property
    def matrices(self) -> int:
        """Weights that each row of its input meets, without biases."""

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Outputs and inputs of its matrices."""

    @property
    def parameters(self) -> int: ...


@dataclass(frozen=True)
class ProjectorSpec:
    """Linear layers from ``widths[0]``, the tower's, to ``widths[-1]``, the decoder's, with ``activation`` between.

    Before them ``merge`` by ``merge`` patches of a tile that lie side by side become one row, so that ``widths[0]`` is
    that of all of these. ``patch_norm`` and ``token_norm`` are the epsilons of LayerNorms before that and after it, if
    there are any. With a ``pool`` each square of so many patches a side becomes its mean instead, which passes an
    RMSNorm of the epsilon ``patch_norm``, and a single matrix.
    """

    widths: tuple[int, ...]
    activation: str
    bias: bool
    merge: int = 1
    patch_norm: float | None = None
    token_norm: float | None = None
    pool: int = 1

    @property
    def patch_width(self) -> int:
        """Width of a row of its input."""
        return self.widths[0] // self.merge**2

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Outputs and inputs of the linear layers; the matrix after a :attr:`pool` is none."""
        return () if self.pool > 1 else tuple((outputs, inputs) for inputs, outputs in pairwise(self.widths))

    @property
    def matrices(self) -> int:
        """Weights that each row of its input meets, those of merged rows being shared among them."""
        return self._weights // self.merge**2

    @property
    def _weights(self) -> int:
        return sum(inputs * outputs for inputs, outputs in pairwise(self.widths))

    @property
    def parameters(self) -> int:
        found = self._weights + (sum(self.widths[1:]) if self.bias else 0)
        for width, epsilon in ((self.patch_width, self.patch_norm), (self.widths[0], self.token_norm)):
            found += 0 if epsilon is None else 2 * width
        return found + (self.widths[0] if self.pool > 1 else 0)
