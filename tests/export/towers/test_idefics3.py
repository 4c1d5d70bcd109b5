"""Which position each patch of a whole tile has, against the library's own embeddings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.models.idefics3.modeling_idefics3 import Idefics3VisionEmbeddings

from clasp_trt.export.towers.idefics3 import positions


@pytest.mark.parametrize("side", [1, 2, 4, 9, 19, 25, 26, 27, 32, 41, 64, 70, 100])
def test_positions_are_the_library_s(side: int) -> None:
    config: Any = SimpleNamespace(hidden_size=1, image_size=side, patch_size=1, num_channels=3)
    embeddings, seen = Idefics3VisionEmbeddings(config), []
    embeddings.position_embedding.register_forward_hook(lambda module, given, made: seen.append(given[0]))
    embeddings(torch.zeros(1, 3, side, side), torch.ones(1, side, side, dtype=torch.bool))
    assert torch.equal(positions(side), seen[0])


def test_of_some_sides_two_neighbours_share_one() -> None:
    assert len(positions(26).unique()) == 26**2
    assert len(positions(19).unique()) < 19**2
