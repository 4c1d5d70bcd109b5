"""Gemma 3: a SigLIP tower whose patches are averaged, and a Gemma whose pictures see all of themselves."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from clasp_trt.brief import brief
from clasp_trt.bundle import Media, Run
from clasp_trt.errors import CheckpointError
from clasp_trt.export.config import Settings
from clasp_trt.export.decoder.gemma import gemma
from clasp_trt.export.description import SquareDescription
from clasp_trt.export.gemma import Gemma
from clasp_trt.export.media import pooled
from clasp_trt.export.specs import ProjectorSpec
from clasp_trt.export.towers.configs import siglip

if TYPE_CHECKING:
    import onnx_ir as ir

    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.towers.spec import TowerSpec

DEFAULTS = {"image_token_index": 262144, "mm_tokens_per_image": 256, "tie_word_embeddings": True}
_PROCESSOR, _LENGTH = "processor_config.json", 256


def describe(config: Settings, name: str) -> SquareDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    top = config.over(DEFAULTS)
    vision = top.part("vision_config", {}).over({"model_type": "siglip_vision_model"})
    vision.require("model_type", "siglip_vision_model")
    text = top.part("text_config", {}).over({"model_type": "gemma3_text"})
    decoder = gemma(text, "gemma3_text", visible="blocks", tied=top.flag("tie_word_embeddings"))
    tower = _pooled(siglip(vision, -1), top)
    return SquareDescription(
        model_type="gemma3",
        name=name,
        tower=tower,
        projector=ProjectorSpec(
            (tower.width, decoder.width), "gelu", bias=False, patch_norm=tower.norm_epsilon, pool=tower.pool
        ),
        decoder=decoder,
        image_token_id=top.id("image_token_id" if top.has("image_token_id") else "image_token_index"),
    )


def _pooled(tower: TowerSpec, top: Settings) -> TowerSpec:
    """``tower`` with as many tokens as the config says: squares of patches, two a side at least."""
    tokens, side = top.count("mm_tokens_per_image"), math.isqrt(tower.patches)
    across = math.isqrt(tokens)
    if across**2 != tokens or side % across or side == across:
        raise top.wrong(
            "mm_tokens_per_image", f"the square of a divisor of {side}, the patches a side, and not of {side}"
        )
    return replace(tower, pool=side // across, final_norm=False)  # which is the projector's


class _Gemma3(Gemma):
    """In a chat template the token that begins a picture stands for it; a visual token has one of its own."""

    model_class = "Gemma3ForConditionalGeneration"

    @cached_property
    def media(self) -> Media:
        self._check_length()
        tower, id = self.description.tower, self.description.image_token_id
        made = pooled(
            self.image_settings, tower.image_size, tower.patch_size, tower.pool, self._token, id, self._checkpoint.root
        )
        begin, end = self._special("boi_token"), self._special("eoi_token")
        layout = Run(begin, self._token, id, before=f"\n\n{begin}", after=f"{end}\n\n")
        return Media(replace(made.image, layout=layout), self.description.images)

    def projector_graph(self, layers: int, dtype: str) -> ir.Model:
        from clasp_trt.export.pooling import pooling_projector_graph

        spec, patches = self.description.projector, self.description.tower.patches
        return pooling_projector_graph(spec, layers, patches, self._weights(dtype), dtype)

    def _special(self, name: str) -> str:
        if name not in self.tokenizer.special:
            raise CheckpointError(
                f"the tokenizer of {self._checkpoint.root} has no {name}; take the tokenizer_config.json that belongs "
                "to the checkpoint"
            )
        return self.tokenizer.special[name]

    def _check_length(self) -> None:
        """Raises :class:`CheckpointError` if processor and model disagree on the number of visual tokens."""
        root, tokens = self._checkpoint.root, self.description.tower.tokens
        found = self._checkpoint.json(_PROCESSOR) if (root / _PROCESSOR).is_file() else {}
        if (length := found.get("image_seq_length", _LENGTH)) != tokens:
            raise CheckpointError(
                f"the {_PROCESSOR} of {root} cannot be used: image_seq_length is {brief(length)}, but the model makes "
                f"{tokens} tokens of a picture; mend or replace it"
            )


def family(checkpoint: Checkpoint, description: SquareDescription) -> Gemma:
    """The family of a checkpoint that :func:`describe` has described."""
    return _Gemma3(checkpoint, description)
