"""CLASP in eager PyTorch on the modules of a Hugging Face model that takes clips of squares: see :mod:`eager`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tests.parity.eager import EagerClasp


class EagerFilm(EagerClasp):
    """Frames of one clip, ``[frames, 3, size, size]``: pooled by LLaVA-NeXT-Video's own module before they are
    projected, or seen by Video-LLaVA's tower of clips, whose [CLS] is a token that nothing is said of."""

    def __init__(self, model: Any) -> None:
        self.model, self.inner, self.decoder = model, model.model, model.model.language_model
        self.pool = getattr(self.inner, "vision_resampler", None)
        self.vision = self.inner.vision_tower if self.pool is not None else self.inner.video_tower
        self.feature_layer = model.config.vision_config.num_hidden_layers + 1 + model.config.vision_feature_layer

    @torch.inference_mode()
    def project(self, hidden_states: Sequence[Tensor], alpha: Sequence[float], layers: Sequence[int]) -> Tensor:
        fused = sum(weight * hidden_states[layer] for weight, layer in zip(alpha, layers, strict=True))
        assert isinstance(fused, Tensor)
        fused = fused if self.pool is None else self.pool(fused[:, 1:])
        projected: Tensor = self.inner.multi_modal_projector(fused).flatten(0, 1)
        return projected

    @torch.inference_mode()
    def cls_saliency(self, hidden_states: Sequence[Tensor]) -> Tensor:
        count = len(hidden_states[0])
        frames = [[state[number : number + 1] for state in hidden_states] for number in range(count)]
        each = torch.stack([super(EagerFilm, self).cls_saliency(frame) for frame in frames])
        each = torch.nn.functional.pad(each, (1, 0)) if self.pool is None else self.pool(each[..., None])[..., 0]
        return each.flatten()

    def _token_id(self) -> int:
        return int(self.model.config.video_token_id)
