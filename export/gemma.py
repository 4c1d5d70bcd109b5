"""What families with a Gemma behind a SigLIP tower have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_trt.export.models import llava
from clasp_trt.export.standard import Standard

if TYPE_CHECKING:
    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.description import SquareDescription
    from clasp_trt.export.reference import Reference

LAYOUTS = (
    (r"^(?:model\.)?vision_tower\.(?:vision_model\.)?post_layernorm\.", "projector.patch_norm."),
    (r"^(?:model\.)?multi_modal_projector\.linear\.", "projector.linear_1."),
    *llava.LAYOUTS,
)
"""Names on disk, old and new, and those that graphs use: what is fused passes the tower's last LayerNorm."""


class Gemma(Standard):
    """A :class:`Standard` whose modules are those of transformers' class :attr:`model_class`."""

    beyond_vocabulary = True
    model_class: str

    def __init__(self, checkpoint: Checkpoint, description: SquareDescription) -> None:
        super().__init__(checkpoint, description, LAYOUTS, self._modules)

    def _modules(self, checkpoint: Checkpoint, description: SquareDescription) -> Reference:
        import torch
        import transformers

        from clasp_trt.export.loading import STORED, pretrained
        from clasp_trt.export.reference import Reference
        from clasp_trt.export.towers.reference import Squares

        kind = getattr(transformers, self.model_class)
        model = pretrained(kind, checkpoint, STORED, attention="eager")
        inner = model.model
        with torch.no_grad():  # loaded in float32, it would not round the scale as in the type of the files
            inner.language_model.embed_tokens.embed_scale.fill_(self.embedding_scale)
        projector = torch.nn.Sequential(inner.vision_tower.post_layernorm, inner.multi_modal_projector)
        return Reference(Squares(description.tower, inner.vision_tower, projector), inner.language_model, model.lm_head)
