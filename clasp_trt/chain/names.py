"""The names of graphs, in a bundle's manifest, its files, its timings and its reports alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

VISION = "vision"
"""Pixels to the hidden states of the support layers, and a saliency of each token."""
PROJECTOR = "projector"
"""Hidden states and the category's weights to visual tokens in decoder space."""
EMBED = "embed"
"""Token ids, with the visual tokens put in their places, to the decoder's input."""
VISION_VIDEO, PROJECTOR_VIDEO = "vision_video", "projector_video"
"""The same of what the tower sees of a clip, where that is not what it does to pictures."""
GRAM = "gram"
"""Similarities of the visual tokens; only where something is pruned."""
GREEDY = "greedy"
"""The most likely token; bundles from before it lack it."""

_SEGMENT, _PRUNE = "segment_", "prune_"
_NUMBERED = re.compile(rf"(?:{_SEGMENT}|{_PRUNE})[0-9]+")


OF_CLIPS: Mapping[str, str] = MappingProxyType({VISION: VISION_VIDEO, PROJECTOR: PROJECTOR_VIDEO})
"""By the graph that pictures go through: the one that clips go through in its place, if a bundle has one."""


def segment(number: int) -> str:
    """The ``number``-th run of decoder layers, from 0."""
    return f"{_SEGMENT}{number}"


def prune(number: int) -> str:
    """The ``number``-th stage of the schedule, from 0."""
    return f"{_PRUNE}{number}"


def is_segment(name: str) -> bool:
    """Whether a graph is a run of decoder layers."""
    return name.startswith(_SEGMENT) and _NUMBERED.fullmatch(name) is not None


def is_prune(name: str) -> bool:
    """Whether a graph is a stage of the schedule."""
    return name.startswith(_PRUNE) and _NUMBERED.fullmatch(name) is not None
