"""What the model saw: the tensors of a picture, the visual tokens that they become, and where each one looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True, eq=False)
class Block:
    """Visual tokens that belong together: a picture, a tile of it, or a frame of a clip.

    ``grid`` counts frames, rows and columns; ``row`` and ``column`` place a tile among the tiles of its picture, from
    1, and are 0 of what is no such tile; ``seconds`` is the time of a frame of a clip that lasts ``duration`` seconds,
    where somebody says. ``boxes`` is float32 ``[tokens, 4]``:
    left, top, right and bottom of what each token stands for, in pixels of :attr:`Seen.view`, and NaN for a token that
    stands for no place.
    """

    tokens: int
    grid: tuple[int, int, int]
    boxes: NDArray[np.float32]
    row: int = 0
    column: int = 0
    seconds: float | None = None
    duration: float | None = None


@dataclass(frozen=True, eq=False)
class Seen:
    """What a processor makes of one picture or clip.

    ``vision`` holds the inputs of the vision graph by port name, ``pack`` those that the projector takes besides
    features, if it takes any. ``blocks`` are in the order of the prompt; ``view`` is what the model saw, for people.
    """

    vision: Mapping[str, NDArray[Any]]
    pack: Mapping[str, NDArray[Any]]
    blocks: tuple[Block, ...]
    view: Image.Image

    @property
    def boxes(self) -> NDArray[np.float32]:
        """The boxes of all tokens, float32 ``[tokens, 4]``."""
        return boxes_of(self.blocks)


def side_by_side(pictures: Sequence[Sequence[Block]]) -> NDArray[np.float32]:
    """The boxes of all tokens of ``pictures``, float32 ``[tokens, 4]``, as if each stood to the right of the one
    before."""
    boxes, right = [np.zeros((0, 4), np.float32)], 0.0
    for blocks in pictures:
        boxes.append(boxes_of(blocks) + np.array([right, 0, right, 0], np.float32))
        placed = boxes[-1][~np.isnan(boxes[-1]).any(axis=1)]
        right = float(placed[:, 2].max(initial=right))
    return np.concatenate(boxes)


def boxes_of(blocks: Sequence[Block]) -> NDArray[np.float32]:
    """The boxes of all tokens of ``blocks``, float32 ``[tokens, 4]``."""
    return np.concatenate([np.zeros((0, 4), np.float32), *(block.boxes for block in blocks)])
