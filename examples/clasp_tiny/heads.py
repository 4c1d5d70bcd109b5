"""Heads that read labels from the tower during training, and are thrown away."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from examples.clasp_tiny.architecture import SIDE, WIDTH
from examples.clasp_tiny.batches import IGNORE, Pictures
from examples.clasp_tiny.labels import PATCH_CLASSES, PICTURE_CLASSES
from examples.shapesvqa.scene import COLOURS

GROUND = 0.2
"""Weight of a patch with nothing in it: three in four are."""


WORD_CLASSES = [SIDE, SIDE, len(COLOURS)]
"""Row, column and colour of what a word names."""

MEDIUM = 4.0
"""Patches of a thing of medium size."""


class Heads(nn.Module):
    """One linear map over patches and one over [CLS], each cut into the labels' classes."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.norm = nn.LayerNorm(WIDTH)
        self.patch = nn.Linear(WIDTH, sum(PATCH_CLASSES.values()))
        self.picture = nn.Linear(WIDTH, sum(PICTURE_CLASSES.values()))
        self.word_norm = nn.LayerNorm(WIDTH)
        self.word = nn.Linear(WIDTH, sum(WORD_CLASSES))
        for linear in (self.patch, self.picture, self.word):
            nn.init.normal_(linear.weight, 0, WIDTH**-0.5, generator=generator)
            nn.init.zeros_(linear.bias)

    def forward(
        self, features: torch.Tensor, summary: torch.Tensor, pictures: Pictures, *, by_thing: bool
    ) -> tuple[torch.Tensor, ...]:
        """Loss of the patches, loss of the pictures, and the share of patches with something whose ``what`` is right.

        ``features`` is [batch, 1 + TOKENS, width], ``summary`` [batch, width]. A patch with something counts one,
        or with ``by_thing`` as much as makes all patches of a thing count MEDIUM.
        """
        scores = self.patch(self.norm(features[:, 1:])).split(list(PATCH_CLASSES.values()), dim=-1)
        full = pictures.thing >= 0
        weight = torch.where(full, _by_thing(pictures.thing) if by_thing else 1.0, GROUND)
        patch = sum(
            (functional.cross_entropy(score.transpose(1, 2), target, reduction="none") * weight).sum()
            for score, target in zip(scores, pictures.patches.unbind(1), strict=True)
        )
        whole = self.picture(summary).split(list(PICTURE_CLASSES.values()), dim=-1)
        picture = sum(
            functional.cross_entropy(score, target)
            for score, target in zip(whole, pictures.picture.unbind(1), strict=True)
        )
        right = (scores[0].argmax(-1) == pictures.patches[:, 0])[full].float().mean()
        return patch / weight.sum(), picture / len(PICTURE_CLASSES), right

    def words(self, hidden: torch.Tensor, meant: torch.Tensor) -> torch.Tensor:
        """Loss of what words name: ``hidden`` [batch, rows, width], ``meant`` [batch, 3, rows] as in ``Packed``."""
        scores = self.word(self.word_norm(hidden)).split(WORD_CLASSES, dim=-1)
        losses = [
            functional.cross_entropy(score.transpose(1, 2), target, ignore_index=IGNORE)
            for score, target in zip(scores, meant.unbind(1), strict=True)
        ]
        return torch.stack(losses).mean()


def _by_thing(thing: torch.Tensor) -> torch.Tensor:
    """MEDIUM over the number of patches that the same thing stands in, float32 like ``thing`` [batch, TOKENS]."""
    number = thing + 1
    counts = torch.zeros(len(thing), int(number.max()) + 1).scatter_add_(1, number, torch.ones_like(number).float())
    return MEDIUM / counts.gather(1, number)
