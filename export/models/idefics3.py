"""Idefics3: tiles of a longest edge, numbered in the prompt, some patches of each merged into a token.

The published SmolVLM of 256M, 500M and 2.2B parameters are of this family, SmolVLM2 of its sister.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_trt.bundle import Tiles
from clasp_trt.errors import CheckpointError
from clasp_trt.export import splits
from clasp_trt.export.config import Settings
from clasp_trt.export.decoder.configs import decoder
from clasp_trt.export.description import MergingDescription
from clasp_trt.export.media import image_settings
from clasp_trt.export.merging import Merging
from clasp_trt.export.specs import ProjectorSpec
from clasp_trt.export.towers import configs
from clasp_trt.splitting import ByEdge

if TYPE_CHECKING:
    from pathlib import Path

    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.tokenizer import Tokenizer

DEFAULTS = {"image_token_id": 128257, "scale_factor": 2, "tie_word_embeddings": False}
LAYOUTS = (
    (r"^(?:model\.)?vision_model\.post_layernorm\.", "projector.patch_norm."),
    (r"^(?:model\.)?vision_model\.", "tower."),
    (r"^(?:model\.)?connector\.modality_projection\.proj\.", "projector.linear_1."),
    (r"^(?:model\.)?text_model\.", "decoder."),
    (r"^lm_head\.", "decoder.lm_head."),
)
SPELLED = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
}
"""How the library spells the row of a visual token, what stands around tiles, and what before the whole picture."""


def describe(config: Settings, name: str) -> MergingDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    return described(config, name, "idefics3")


def described(config: Settings, name: str, model_type: str) -> MergingDescription:
    """The same for any ``model_type`` of this structure."""
    top = config.over(DEFAULTS)
    tower = configs.idefics3(top.part("vision_config", {}))
    merge, side = top.count("scale_factor"), tower.image_size // tower.patch_size
    if side % merge:
        raise top.wrong("scale_factor", f"a divisor of the {side} patches a side")
    text = top.part("text_config", {"rms_norm_eps": 1e-5} if top.get("text_config") is None else {})
    spec = decoder(text, tied=top.flag("tie_word_embeddings"))
    return MergingDescription(
        model_type=model_type,
        name=name,
        tower=tower,
        projector=ProjectorSpec(
            widths=(tower.width * merge**2, spec.width),
            activation="gelu",
            bias=False,
            merge=merge,
            patch_norm=tower.norm_epsilon,
        ),
        decoder=spec,
        image_token_id=top.id("image_token_id"),
        split=ByEdge(tower.image_size, tower.patch_size, merge, splits.TILES_A_SIDE * tower.image_size, split=True),
    )


def family(checkpoint: Checkpoint, description: MergingDescription) -> Merging:
    """The family of a checkpoint that :func:`describe` has described, with the longest edge of its image settings."""
    return Merging(checkpoint, split(checkpoint, description), LAYOUTS, reference, layout)


def split(checkpoint: Checkpoint, description: MergingDescription) -> MergingDescription:
    """``description`` with the longest edge of the checkpoint's image settings. Raises :class:`CheckpointError`."""
    assert isinstance(description.split, ByEdge)
    splits.check_tokens(checkpoint, "image_seq_len", 169, description.split.tokens)
    return description.sized(image_settings(checkpoint), checkpoint.root)


def layout(description: MergingDescription, tokenizer: Tokenizer, root: Path) -> Tiles:
    """Where the tiles of a picture stand. Raises :class:`CheckpointError`."""
    # SmolVLM's processor asks the tokenizer for the spellings first, Idefics3's knows its own alone
    named = tokenizer.special if description.model_type == "smolvlm" else {}
    image, fake, whole = (named.get(name, spelled) for name, spelled in SPELLED.items())
    id, known = description.image_token_id, tokenizer.added
    if known[id] != image or fake not in known.values():
        raise CheckpointError(
            f"the tokenizer of {root} has {known[id]} as token {id}, the image_token_id of config.json, and "
            f"{'the' if fake in known.values() else 'no'} added token {fake}; expected {image} and {fake}, which the "
            "processor of transformers writes; take the tokenizer that belongs to the checkpoint"
        )
    return Tiles(
        placeholder=image,
        token=image,
        id=id,
        tile=fake + "<row_{row}_col_{column}>",
        row_end="\n",
        whole=f"\n{fake}{whole}",
        alone=f"{fake}{whole}",
        after=fake,
    )


def reference(checkpoint: Checkpoint, description: MergingDescription) -> Reference:
    """The checkpoint's own modules."""
    import torch
    from transformers import AutoModelForImageTextToText

    from clasp_trt.export.loading import STORED, pretrained
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.towers.reference import Squares

    model = pretrained(AutoModelForImageTextToText, checkpoint, STORED, attention="eager")
    inner = model.model
    projector = torch.nn.Sequential(inner.vision_model.post_layernorm, inner.connector)
    eyes = Squares(description.tower, inner.vision_model, projector, merge=description.projector.merge)
    return Reference(eyes, inner.text_model, model.lm_head)
