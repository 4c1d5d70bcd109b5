"""transformers' towers over a grid of patches, watched while they see: an independent account of their insides."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.vision_utils import get_vision_window_index


class Watched:
    """One picture or clip through ``tower`` in eager attention: ``pixels`` ``[frames * patches, numbers]``, a ``grid``
    of frames, rows and columns.

    ``tokens`` and ``stacked`` are what it gives, ``[tokens, width]`` each. In the order of the patches are ``states``,
    ``[frames, patches, width]`` from the input of the first block on, and by block, counted from 1, the attention
    ``[frames, patches]`` that each patch of a block without windows has ``received``.
    """

    @torch.inference_mode()
    def __init__(self, tower: Any, pixels: Tensor, grid: Sequence[int]) -> None:
        sizes, merged = torch.tensor([list(grid)]), tower.spatial_merge_size**2
        self._frames, order = grid[0], torch.arange(len(pixels) // merged)
        if hasattr(tower, "window_size"):
            order, _ = get_vision_window_index(sizes, tower.spatial_merge_size, tower.window_size, tower.patch_size)
        self._back, self._merged = torch.argsort(order), merged
        states, attended = list[Tensor](), list[list[Tensor]]()
        hooks = [tower.blocks[0].register_forward_pre_hook(lambda _, taken: states.append(taken[0]))]
        for block in tower.blocks:
            hooks.append(block.register_forward_pre_hook(lambda _, taken: attended.append([])))
            hooks.append(block.register_forward_hook(lambda _, taken, given: states.append(given)))
        module = sys.modules[type(tower).__module__]
        with pytest.MonkeyPatch.context() as patched:
            own = module.eager_attention_forward

            def watched(*args: Any, **kwargs: Any) -> Any:
                found = own(*args, **kwargs)
                attended[-1].append(found[1])
                return found

            patched.setattr(module, "eager_attention_forward", watched)
            output = tower(pixels, sizes)
        for hook in hooks:
            hook.remove()
        self.tokens: Tensor = output.pooler_output
        self.stacked: list[Tensor] = list(getattr(output, "deepstack_features", None) or [])
        self.states = [self._aligned(state) for state in states]
        self.received = {
            number: self._aligned(torch.cat([each.mean((0, 1, 2)) for each in block])[:, None])[..., 0]
            for number, block in enumerate(attended, start=1)
            if len(block) == self._frames
        }

    def _aligned(self, rows: Tensor) -> Tensor:
        blocks = rows.reshape(-1, self._merged, rows.shape[-1])[self._back]
        return blocks.reshape(self._frames, -1, rows.shape[-1])
