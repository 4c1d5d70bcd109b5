"""The reference for whole answers on the modules of a Hugging Face Qwen-VL: pictures of any shape, positions of three
axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tests.parity.eager import EagerClasp, _Rows
from tests.towers import Watched


class EagerGrids(EagerClasp):
    """Runs ``model`` on pictures of ``grids``, their frames, rows and columns of patches, one after the other.

    ``pixel_values`` are as the library's image processor makes them, the patches of all pictures in one run. With
    ``clip`` it is a clip that is of these grids, and what the library's positions are told of it.
    """

    def __init__(self, model: Any, grids: Tensor, clip: Mapping[str, Any] | None = None) -> None:
        for part in (model.config.vision_config, model.config.text_config):
            if part._attn_implementation != "eager":
                raise ValueError(f"load the model with attn_implementation='eager', not {part._attn_implementation!r}")
        self.model, self.vision, self.decoder = model, model.model.visual, model.model.language_model
        self._grids, self._stacked, self._clip = grids, list[Tensor](), clip

    @torch.inference_mode()
    def vision_hidden_states(self, pixel_values: Tensor) -> Any:
        pictures = pixel_values.split(self._grids.prod(-1).tolist())
        seen = [Watched(self.vision, each, grid) for each, grid in zip(pictures, self._grids.tolist(), strict=True)]
        self._stacked = [torch.cat(sets) for sets in zip(*(each.stacked for each in seen), strict=True)]
        return seen

    @torch.inference_mode()
    def project(self, hidden_states: Any, alpha: Sequence[float], layers: Sequence[int]) -> Tensor:
        found = []
        for each in hidden_states:
            weighted = [weight * each.states[layer] for weight, layer in zip(alpha, layers, strict=True)]
            fused = torch.stack(weighted).sum(0)
            found.append(self.vision.merger(fused.reshape(-1, fused.shape[-1])))
        return torch.cat(found)

    @torch.inference_mode()
    def cls_saliency(self, hidden_states: Any) -> Tensor:
        """What all patches attend to in the last block without windows, mean over the patches of each token."""
        found = [each.received[len(self.vision.blocks)].reshape(-1, 4).mean(1) for each in hidden_states]
        return torch.cat(found)

    def _merge(self, input_ids: Tensor, visual: Tensor) -> _Rows:
        rows = super()._merge(input_ids, visual)
        kinds = (input_ids == self._token_id()).long()
        told: Mapping[str, Any] = {"image_grid_thw": self._grids}
        if self._clip is not None:
            kinds, told = 2 * kinds, {"video_grid_thw": self._grids, **self._clip}
        positions, _ = self.model.model.get_rope_index(input_ids, kinds, **told)
        return _Rows(rows.hidden, positions[:, 0], rows.visual)

    def _token_id(self) -> int:
        return super()._token_id() if self._clip is None else int(self.model.config.video_token_id)

    def _stack(self, index: int, rows: _Rows) -> None:
        if index < len(self._stacked):
            places = rows.visual >= 0
            rows.hidden = rows.hidden.clone()
            rows.hidden[0, places] += self._stacked[index][rows.visual[places]]
