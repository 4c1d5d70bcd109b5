"""InternVL (``-hf`` checkpoints): tiles of about a picture's ratio, four patches of each merged into a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_trt.bundle import Clips, Frames, Run, Stills
from clasp_trt.errors import CheckpointError
from clasp_trt.export import splits, stills
from clasp_trt.export.config import Settings
from clasp_trt.export.decoder.configs import decoder
from clasp_trt.export.description import MergingDescription
from clasp_trt.export.media import image_settings
from clasp_trt.export.merging import Merging
from clasp_trt.export.models import llava
from clasp_trt.export.specs import ProjectorSpec
from clasp_trt.export.stills import Film
from clasp_trt.export.towers import configs
from clasp_trt.splitting import ByRatio

if TYPE_CHECKING:
    from pathlib import Path

    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.tokenizer import Tokenizer

DEFAULTS = {
    "image_token_id": 151667,
    "downsample_ratio": 0.5,
    "projector_hidden_act": "gelu",
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "default",
    "tie_word_embeddings": True,
}
LAYOUTS = ((r"^(?:model\.)?multi_modal_projector\.layer_norm\.", "projector.token_norm."), *llava.LAYOUTS)
_EPSILON = 1e-5  # of the projector's LayerNorm: torch's, for no config names it


def describe(config: Settings, name: str) -> MergingDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    top = config.over(DEFAULTS)
    tower = configs.internvl(top.part("vision_config", {}), llava.feature_layer(top))
    llava.check_feature_layer(top, tower)
    top.require("vision_feature_select_strategy", "default")
    merge, side = round(1 / top.require("downsample_ratio", 1.0, 0.5, 0.25)), tower.image_size // tower.patch_size
    if side % merge:
        raise top.wrong("downsample_ratio", f"one that makes whole numbers of the {side} patches a side")
    spec = decoder(top.part("text_config", {"model_type": "qwen2"}), tied=top.flag("tie_word_embeddings"))
    return MergingDescription(
        model_type="internvl",
        name=name,
        tower=tower,
        projector=ProjectorSpec(
            widths=(tower.width * merge**2, spec.width, spec.width),
            activation=top.activation("projector_hidden_act", "gelu", "gelu_pytorch_tanh", "silu", "relu"),
            bias=True,
            merge=merge,
            token_norm=_EPSILON,
        ),
        decoder=spec,
        image_token_id=top.id("image_token_id"),
        split=ByRatio(tower.image_size, tower.patch_size, merge, 1, splits.TILES),
        clips=True,
    )


def family(checkpoint: Checkpoint, description: MergingDescription) -> Merging:
    """The family of a checkpoint that :func:`describe` has described, with as many tiles as its image settings say."""
    assert isinstance(description.split, ByRatio)
    splits.check_tokens(checkpoint, "image_seq_length", 256, description.split.tokens)
    sized = description.sized(image_settings(checkpoint), checkpoint.root)
    return Merging(checkpoint, sized, LAYOUTS, _reference, _layout, _clips)


def _clips(film: Film) -> Clips | None:
    """Frames that are numbered, where the tokenizer names what stands for a clip."""
    token, layout = film.tokenizer.special.get("video_token"), film.layout
    if token is None or token == layout.placeholder:
        return None
    assert isinstance(layout, Run)
    before = f"Frame{{number}}: {layout.before}"
    shown = Frames(token, layout.token, layout.id, "", before, layout.after, between="\n", closing="")
    return Clips(stills.by_part(film), Stills(stills.ratio(film)), shown)


def _layout(description: MergingDescription, tokenizer: Tokenizer, root: Path) -> Run:
    token, id = tokenizer.added[description.image_token_id], description.image_token_id
    start, end, inside = (tokenizer.special.get(f"{name}_image_token") for name in ("start", "end", "context"))
    if start is None or end is None or inside != token:
        raise CheckpointError(
            f"the tokenizer_config.json of {root} names {start}, {end} and {inside} as start_image_token, "
            f"end_image_token and context_image_token; expected all three, the last as {token}, the token "
            f"{id} of config.json; take the tokenizer that belongs to the checkpoint"
        )
    return Run(token, token, id, start, end)


def _reference(checkpoint: Checkpoint, description: MergingDescription) -> Reference:
    import torch
    from transformers import InternVLForConditionalGeneration

    from clasp_trt.export.loading import STORED, pretrained
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.towers.reference import Squares

    model = pretrained(InternVLForConditionalGeneration, checkpoint, STORED, attention="eager")
    inner, merge = model.model, description.projector.merge

    class Shuffled(torch.nn.Module):
        """The projector, of patches that the library itself merges."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = inner.multi_modal_projector

        def forward(self, patches: torch.Tensor) -> torch.Tensor:
            side = int(patches.shape[1] ** 0.5)
            square = patches.reshape(len(patches), side, side, -1)
            merged = type(inner).pixel_shuffle(None, square, scale_factor=1 / merge)
            found: torch.Tensor = self.inner(merged.reshape(len(patches), -1, merged.shape[-1]))
            return found

    eyes = Squares(description.tower, inner.vision_tower, Shuffled(), merge=merge)
    return Reference(eyes, inner.language_model, model.lm_head)
