"""SmolVLM (SmolVLM2): Idefics3 by another name."""

from __future__ import annotations

from clasp_trt.export.config import Settings
from clasp_trt.export.description import MergingDescription
from clasp_trt.export.models import idefics3

family = idefics3.family


def describe(config: Settings, name: str) -> MergingDescription:
    """The model that ``config`` describes. Raises :class:`CheckpointError` for variants that we do not compile."""
    return idefics3.described(config, name, "smolvlm")
