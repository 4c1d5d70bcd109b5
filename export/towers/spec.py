"""A vision tower as data: all that its graph, its estimate and its reference are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from clasp_trt.bundle import VisionDims
from clasp_trt.thinning import Thinning

CHANNELS = 3
"""Red, green and blue."""


@dataclass(frozen=True)
class TowerSpec(VisionDims):
    """A vision transformer over square patches, with norms, biased linear layers and an MLP of two.

    ``kind`` names the module of :mod:`clasp_trt.export.towers` that knows its parts. Pictures are squares of
    ``image_size`` pixels, patches of ``patch_size``; each patch is a visual token, or each square of ``pool`` by
    ``pool`` patches. ``pre_norm``: a LayerNorm before the first block; ``patch_bias``, ``qkv_bias``: biases of the
    patch embedding and of queries, keys and values; ``layer_scale``: a vector that scales what each half of a block
    adds; ``rms_norm``: the norms of a block are RMSNorms; ``qk_norm``: queries and keys pass one of all heads' width;
    ``final_norm``: a LayerNorm after the last block, which is not read; ``keeps_cls``: [CLS] is a visual token too,
    before all others. ``thinning`` says which patches it drops on the way, in exported graphs alone. ``unread`` counts
    the parameters that a checkpoint stores beside all these, and no graph reads.

    ``feature_layer`` is the hidden state that the checkpoint reads (0: before the first block), and so the number of
    blocks that a bundle holds; the tower's own ``layers`` may be more.
    """

    kind: str
    image_size: int
    patch_size: int
    heads: int
    mlp: int
    activation: str
    norm_epsilon: float
    pre_norm: bool
    patch_bias: bool
    qkv_bias: bool
    layer_scale: bool
    unread: int
    rms_norm: bool = False
    qk_norm: bool = False
    final_norm: bool = True
    pool: int = 1
    keeps_cls: bool = False
    thinning: Thinning | None = None

    @property
    def dims(self) -> VisionDims:
        """What a manifest says of it."""
        return VisionDims(**{field.name: getattr(self, field.name) for field in fields(VisionDims)})

    @property
    def tokens(self) -> int:
        """Visual tokens of every picture."""
        return (self.image_size // self.patch_size // self.pool) ** 2 + self.keeps_cls

    @property
    def patches(self) -> int:
        """Patches of every picture."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def given(self) -> int:
        """Visual tokens of every picture that come out of the tower."""
        return self.tokens if self.thinning is None else self.thinning.keep

    @property
    def has_cls(self) -> bool:
        """Whether a [CLS] token stands before the patches: where there is one, its attention is the saliency."""
        return self.saliency == "cls"

    def saliency_layer(self, layers: Sequence[int]) -> int:
        """The block, counted from 1, that the tower's saliency is read from where ``layers`` are exported."""
        return max(1, min(self.feature_layer, max(layers)))

    @property
    def rows(self) -> int:
        """Rows of a block: the patches, and [CLS]."""
        return self.patches + self.has_cls

    @property
    def token_range(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a picture: all alike."""
        return (self.tokens,) * 3

    @property
    def wide(self) -> int:
        """Numbers of a row that live at once in a block, beside the residual and its norm."""
        return max(2 * self.mlp, 4 * self.width)

    def flops(self, rows: int) -> int:
        """Operations of a picture of ``rows`` rows: a multiplication with its addition is two."""
        whole = self.built_blocks if self.thinning is None else self.thinning.after_block
        left = 0 if self.thinning is None else self.thinning.keep + self.has_cls
        blocks = whole * self._block_flops(rows) + (self.built_blocks - whole) * self._block_flops(left)
        return 2 * (rows - self.has_cls) * self.patch_matrix + blocks

    def _block_flops(self, rows: int) -> int:
        return 2 * rows * self.block_matrices + 4 * rows * rows * self.width

    @property
    def block_matrices(self) -> int:
        """Weights of one block's six matrices, without biases."""
        return 4 * self.width**2 + 2 * self.width * self.mlp

    @property
    def built_shapes(self) -> tuple[tuple[int, int], ...]:
        """Outputs and inputs of the matrices of the exported graph's blocks."""
        square, first = (self.width, self.width), (self.mlp, self.width)
        return self.built_blocks * (square, square, square, square, first, first[::-1])

    @property
    def block_parameters(self) -> int:
        """One block: matrices with their biases, its norms, and the scales of both halves."""
        biases = (3 * self.width if self.qkv_bias else 0) + 2 * self.width + self.mlp
        vectors = 2 * (1 if self.rms_norm else 2) + 2 * self.qk_norm + 2 * self.layer_scale
        return self.block_matrices + biases + vectors * self.width

    @property
    def patch_matrix(self) -> int:
        """Weights of the patch embedding, without a bias."""
        return self.width * CHANNELS * self.patch_size**2

    @property
    def embedding_parameters(self) -> int:
        """Patches, [CLS], positions of all rows, and the LayerNorm before the first block."""
        vectors = self.patch_bias + self.has_cls + self.rows + 2 * self.pre_norm
        return self.patch_matrix + vectors * self.width

    @property
    def parameters(self) -> int:
        """What the checkpoint stores, the LayerNorm after the last block included."""
        last = 2 * self.width if self.final_norm else 0
        return self.embedding_parameters + self.layers * self.block_parameters + last + self.unread

    @property
    def built_blocks(self) -> int:
        """Blocks of the exported graph: deeper ones are dropped, and the saliency needs the first."""
        return max(1, self.feature_layer)

    @property
    def built_parameters(self) -> int:
        """What the exported graph holds."""
        return self.embedding_parameters + self.built_blocks * self.block_parameters
