"""A family that nothing else knows: a DINOv2 tower, one linear layer, a Qwen2 decoder, in a layout of its own.

This file is what adding a family takes. The test that imports it puts it beside those of the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_trt.export.config import Settings
from clasp_trt.export.decoder.configs import decoder
from clasp_trt.export.description import SquareDescription
from clasp_trt.export.specs import ProjectorSpec
from clasp_trt.export.standard import Standard
from clasp_trt.export.towers.configs import TOWERS

if TYPE_CHECKING:
    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference

LAYOUTS = (
    (r"^eye\.", "tower."),
    (r"^bridge\.", "projector.linear_1."),
    (r"^brain\.(?:model\.)?", "decoder."),
)


def describe(config: Settings, name: str) -> SquareDescription:
    """The model that ``config`` describes."""
    eye = config.part("eye", {"model_type": "dinov2"})
    tower = TOWERS[eye.require("model_type", "dinov2")](eye, -1)
    spec = decoder(config.part("brain", {"model_type": "qwen2"}))
    return SquareDescription(
        model_type="toyvlm",
        name=name,
        tower=tower,
        projector=ProjectorSpec((tower.width, spec.width), activation="gelu", bias=True),
        decoder=spec,
        image_token_id=config.id("picture"),
    )


def family(checkpoint: Checkpoint, description: SquareDescription) -> Standard:
    """The family of a checkpoint."""
    return Standard(checkpoint, description, LAYOUTS, reference)


def reference(checkpoint: Checkpoint, description: SquareDescription) -> Reference:
    """The checkpoint's modules in torch: transformers has no class for the whole."""
    import torch
    from safetensors.torch import load_file
    from transformers import Dinov2Config, Dinov2Model, Qwen2Config, Qwen2ForCausalLM

    from clasp_trt.export.reference import Reference
    from clasp_trt.export.towers.reference import Squares

    config, tensors = checkpoint.config, load_file(checkpoint.root / "model.safetensors")
    brain = Qwen2ForCausalLM(Qwen2Config(**config["brain"], attn_implementation="eager"))
    parts = {
        "eye": Dinov2Model(Dinov2Config(**config["eye"], attn_implementation="eager")),
        "bridge": torch.nn.Linear(description.tower.width, description.decoder.width),
        "brain": brain,
    }
    for part, module in parts.items():
        own = {key.removeprefix(f"{part}."): value for key, value in tensors.items() if key.startswith(f"{part}.")}
        module.load_state_dict(own)
        module.eval()
    return Reference(Squares(description.tower, parts["eye"], parts["bridge"]), brain.model, brain.lm_head)
