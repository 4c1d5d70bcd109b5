"""A vision tower over patches in a grid of any size, as data: all that its graph, its estimate and its reference are
made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from clasp_trt.bundle import VisionDims
from clasp_trt.patching import Patching

CHANNELS = 3
"""Red, green and blue."""
EPSILON = 1e-6
"""Of every norm of these towers and of their mergers."""


@dataclass(frozen=True)
class MergerSpec:
    """Blocks of ``merged`` patches of ``width`` to one token of ``out``: a norm, ``layer`` or ``rms``, and two linear
    layers with an exact GELU between. ``norm_after``: the norm is of the whole block, not of each patch."""

    width: int
    merged: int
    out: int
    norm: str
    norm_after: bool = False

    @property
    def block(self) -> int:
        """Numbers of the patches of a block."""
        return self.width * self.merged

    @property
    def matrices(self) -> int:
        """Weights of the linear layers, without biases."""
        return self.block**2 + self.block * self.out

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Outputs and inputs of the linear layers."""
        return ((self.block, self.block), (self.out, self.block))

    @property
    def normed(self) -> int:
        """Numbers that the norm takes at once."""
        return self.block if self.norm_after else self.width

    @property
    def parameters(self) -> int:
        return self.matrices + self.block + self.out + norm_parameters(self.norm, self.normed)


@dataclass(frozen=True)
class GridSpec(VisionDims):
    """A vision transformer whose patches know their row and column by a rotary embedding of base ``theta``.

    ``patching`` is the grid, ``time`` how many frames deep a patch is. ``norm`` is ``layer`` or ``rms``; ``mlp_layers``
    are the names of an MLP's linear layers: two, or three where the first is a gate. A patch attends to all of its
    frame in ``full_blocks``, and to its window in the others. ``table`` is the side of a table of learned positions,
    ``deepstack`` the blocks after which more visual tokens are made, by mergers like ``merger``. Blocks are counted
    from 0 here.
    """

    patching: Patching
    time: int
    heads: int
    mlp: int
    mlp_layers: tuple[str, ...]
    activation: str
    norm: str
    theta: float
    patch_bias: bool
    full_blocks: tuple[int, ...]
    table: int | None
    deepstack: tuple[int, ...]
    merger: MergerSpec

    @property
    def dims(self) -> VisionDims:
        """What a manifest says of it."""
        return VisionDims(**{field.name: getattr(self, field.name) for field in fields(VisionDims)})

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a picture."""
        return self.patching.token_range

    @property
    def tokens(self) -> int:
        """Visual tokens of a picture, at most."""
        return self.token_range[-1]

    @property
    def rows(self) -> int:
        """Rows of a block: the patches of a picture, at most."""
        return max(self.patching.patch_range)

    @property
    def gated(self) -> bool:
        """Whether the MLP has a gate."""
        return len(self.mlp_layers) == 3

    def saliency_layer(self, layers: Sequence[int]) -> int:
        """The block, counted from 1, that the tower's saliency is read from where ``layers`` are exported: the deepest
        of them whose patches attend to all others, or else the first below them."""
        within = [block + 1 for block in self.full_blocks if block < max(layers)]
        return max(within, default=min(self.full_blocks) + 1)

    @property
    def patch(self) -> int:
        """Numbers of a patch."""
        return CHANNELS * self.time * self.patching.patch**2

    @property
    def patch_matrix(self) -> int:
        """Weights of the patch embedding, without a bias."""
        return self.width * self.patch

    @property
    def block_matrices(self) -> int:
        """Weights of one block's matrices, without biases."""
        return 4 * self.width**2 + len(self.mlp_layers) * self.width * self.mlp

    @property
    def built_shapes(self) -> tuple[tuple[int, int], ...]:
        """Outputs and inputs of the matrices of the blocks, and of the mergers after them."""
        *first, last = ((self.mlp, self.width) for _ in self.mlp_layers)
        block = ((3 * self.width, self.width), (self.width, self.width), *first, last[::-1])
        return self.built_blocks * block + len(self.deepstack) * self.stacked.shapes

    @property
    def block_parameters(self) -> int:
        """One block: matrices with their biases, and two norms."""
        biases = 4 * self.width + (len(self.mlp_layers) - 1) * self.mlp + self.width
        return self.block_matrices + biases + 2 * norm_parameters(self.norm, self.width)

    @property
    def wide(self) -> int:
        """Numbers of a row that live at once in a block, beside the residual and its norm."""
        return max((3 if self.gated else 2) * self.mlp, 4 * self.width)

    def flops(self, rows: int) -> int:
        """Operations of a picture of ``rows`` patches: a multiplication with its addition is two."""
        window = rows if self.patching.window is None else min(rows, self.patching.window**2)
        keys = len(self.full_blocks) * rows + (self.built_blocks - len(self.full_blocks)) * window
        linear = self.patch_matrix + self.built_blocks * self.block_matrices
        return 2 * rows * linear + 4 * rows * keys * self.width

    @property
    def stacked(self) -> MergerSpec:
        """What makes the tokens after each block of :attr:`deepstack`."""
        merger = self.merger
        return MergerSpec(merger.width, merger.merged, merger.out, merger.norm, norm_after=True)

    @property
    def parameters(self) -> int:
        """What the checkpoint stores, without the merger."""
        table = 0 if self.table is None else self.table**2 * self.width
        embedding = self.patch_matrix + (self.width if self.patch_bias else 0) + table
        return embedding + self.layers * self.block_parameters + len(self.deepstack) * self.stacked.parameters

    @property
    def built_blocks(self) -> int:
        """Blocks of the exported graph: the checkpoint reads the last."""
        return self.layers

    @property
    def built_parameters(self) -> int:
        """What the exported graph holds."""
        return self.parameters


def norm_parameters(norm: str, width: int) -> int:
    """A scale, and a shift where the norm is a LayerNorm."""
    return width if norm == "rms" else 2 * width
