"""The sizes of a vision-language model, and from them its parameters: exact, tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TowerShape:
    """A CLIP vision tower. ``feature_layer`` is the hidden state that the checkpoint reads (0: before the first block),
    and so the number of blocks that a bundle holds; the tower's own ``layers`` may be more."""

    layers: int
    width: int
    heads: int
    mlp: int
    image_size: int
    patch_size: int
    channels: int
    feature_layer: int

    @property
    def tokens(self) -> int:
        """Visual tokens of an image."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def block_matrices(self) -> int:
        """Weights of one block's six matrices, without biases."""
        return 4 * self.width**2 + 2 * self.width * self.mlp

    @property
    def block_parameters(self) -> int:
        """One block: matrices with their biases, and two LayerNorms."""
        biases = 4 * self.width + self.mlp + self.width
        return self.block_matrices + biases + 2 * 2 * self.width

    @property
    def patch_matrix(self) -> int:
        """Weights of the patch embedding, which has no bias."""
        return self.width * self.channels * self.patch_size**2

    @property
    def embedding_parameters(self) -> int:
        """[CLS], patches, positions of [CLS] and patches, and the LayerNorm before the first block."""
        return self.width + self.patch_matrix + (self.tokens + 1) * self.width + 2 * self.width

    @property
    def parameters(self) -> int:
        """What the checkpoint stores, the unused LayerNorm after the last block included."""
        return self.embedding_parameters + self.layers * self.block_parameters + 2 * self.width

    @property
    def built_blocks(self) -> int:
        """Blocks of the exported graph: deeper ones are dropped, and the [CLS] saliency needs the first."""
        return max(1, self.feature_layer)

    @property
    def built_parameters(self) -> int:
        """What the exported graph holds."""
        return self.embedding_parameters + self.built_blocks * self.block_parameters


@dataclass(frozen=True)
class ProjectorShape:
    """Two linear layers, from ``inputs`` to ``width`` and on to ``width``."""

    inputs: int
    width: int
    bias: bool

    @property
    def matrices(self) -> int:
        """Weights without biases."""
        return self.inputs * self.width + self.width**2

    @property
    def parameters(self) -> int:
        return self.matrices + (2 * self.width if self.bias else 0)


@dataclass(frozen=True)
class DecoderShape:
    """A Llama decoder. ``tied``: the output head is the embedding, which a checkpoint stores once and a bundle twice,
    in the first graph and in the last."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocabulary: int
    max_positions: int
    attention_bias: bool
    mlp_bias: bool
    tied: bool

    @property
    def attention_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.kv_heads * self.head_dim

    @property
    def kv_matrices(self) -> int:
        """Weights of one layer's key and value projections: the part that even the last layer runs on every row."""
        return 2 * self.width * self.kv_width

    @property
    def row_matrices(self) -> int:
        """Weights of one layer's other matrices: query, output, and the gated MLP."""
        return 2 * self.width * self.attention_width + 3 * self.width * self.mlp

    @property
    def layer_parameters(self) -> int:
        """One layer: matrices, their biases where it has any, and two RMSNorms."""
        attention = self.attention_width + 2 * self.kv_width + self.width if self.attention_bias else 0
        mlp = 2 * self.mlp + self.width if self.mlp_bias else 0
        return self.kv_matrices + self.row_matrices + attention + mlp + 2 * self.width

    @property
    def embedding_parameters(self) -> int:
        return self.vocabulary * self.width

    @property
    def output_parameters(self) -> int:
        """The final RMSNorm and the output head, as the last graph holds them."""
        return self.width + self.embedding_parameters

    @property
    def parameters(self) -> int:
        """What the checkpoint stores."""
        head = 0 if self.tied else self.embedding_parameters
        return self.embedding_parameters + self.layers * self.layer_parameters + self.width + head


@dataclass(frozen=True)
class ModelShape:
    """A whole model; ``name`` is for people to read."""

    name: str
    model_type: str
    tower: TowerShape
    projector: ProjectorShape
    decoder: DecoderShape

    @property
    def parts(self) -> dict[str, int]:
        """Parameters that the checkpoint stores, by part."""
        decoder = self.decoder
        return {
            "vision tower": self.tower.parameters,
            "projector": self.projector.parameters,
            "embedding": decoder.embedding_parameters,
            "decoder layers": decoder.layers * decoder.layer_parameters,
            "final norm and head": decoder.width + (0 if decoder.tied else decoder.embedding_parameters),
        }

    @property
    def parameters(self) -> int:
        return sum(self.parts.values())
