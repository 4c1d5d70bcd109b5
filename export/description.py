"""What a family says of a checkpoint from its ``config.json`` alone: all sizes, and nothing of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from clasp_trt.chain import names
from clasp_trt.export.decoder.spec import DecoderSpec
from clasp_trt.export.towers.spec import TowerSpec
from clasp_trt.tiling import Tiling


@dataclass(frozen=True)
class ProjectorSpec:
    """Linear layers from ``widths[0]``, the tower's, to ``widths[-1]``, the decoder's, with ``activation`` between."""

    widths: tuple[int, ...]
    activation: str
    bias: bool

    @property
    def matrices(self) -> int:
        """Weights without biases."""
        return sum(inputs * outputs for inputs, outputs in pairwise(self.widths))

    @property
    def parameters(self) -> int:
        return self.matrices + (sum(self.widths[1:]) if self.bias else 0)


@dataclass(frozen=True)
class Description:
    """A whole model: what `plan` estimates, what an export makes graphs of, and what a verification walks.

    ``name`` is for people to read. ``image_token_id`` stands for a visual token in a prompt. ``tiling`` is how pictures
    become several of what the tower takes; without one, each becomes one.
    """

    model_type: str
    name: str
    tower: TowerSpec
    projector: ProjectorSpec
    decoder: DecoderSpec
    image_token_id: int
    tiling: Tiling | None = None

    @property
    def tokens(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a picture."""
        return (self.tower.tokens,) * 3 if self.tiling is None else self.tiling.token_range

    @property
    def tiles(self) -> int:
        """How many squares the tower takes of a picture, at most."""
        return 1 if self.tiling is None else max(self.tiling.tile_range)

    @property
    def parts(self) -> dict[str, int]:
        """Parameters that the checkpoint stores, by part."""
        decoder = self.decoder
        return {
            "vision tower": self.tower.parameters,
            names.PROJECTOR: self.projector.parameters + (0 if self.tiling is None else decoder.width),
            "embedding": decoder.embedding_parameters,
            "decoder layers": decoder.layers * decoder.layer_parameters,
            "final norm and head": decoder.width + (0 if decoder.tied else decoder.embedding_parameters),
        }

    @property
    def parameters(self) -> int:
        return sum(self.parts.values())
