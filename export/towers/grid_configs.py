"""The ``vision_config`` of a family whose pictures become a grid of patches, to a :class:`GridSpec`.

What a config leaves out has the value that transformers gives it, tabled here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clasp_trt.export.config import Settings
from clasp_trt.export.towers.grid import CHANNELS, GridSpec, MergerSpec
from clasp_trt.patching import Patching

ACTIVATIONS = ("silu", "quick_gelu", "gelu", "gelu_pytorch_tanh")
_COMMON: Mapping[str, Any] = {
    "num_heads": 16,
    "in_channels": CHANNELS,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
_THETA = 10000.0
_OTHER_NAMES = (("num_hidden_layers", "depth"), ("num_attention_heads", "num_heads"))
"""Fields by which transformers knows others too; they go before these."""


@dataclass(frozen=True)
class Kind:
    """What towers of a ``model_type`` have in common: the ``defaults`` of their configs, ``width`` and ``out``, the
    fields that hold their own width and the decoder's, the kind of their norms, and what their MLP is made of."""

    defaults: Mapping[str, Any]
    width: str
    out: str
    norm: str
    mlp_layers: tuple[str, ...]
    patch_bias: bool = False


QWEN2_VL = Kind(
    {
        **_COMMON,
        "depth": 32,
        "embed_dim": 1280,
        "hidden_size": 3584,
        "hidden_act": "quick_gelu",
        "mlp_ratio": 4,
        "patch_size": 14,
    },
    width="embed_dim",
    out="hidden_size",
    norm="layer",
    mlp_layers=("fc1", "fc2"),
)
QWEN2_5_VL = Kind(
    {
        **_COMMON,
        "depth": 32,
        "hidden_size": 3584,
        "hidden_act": "silu",
        "intermediate_size": 3420,
        "patch_size": 14,
        "window_size": 112,
        "out_hidden_size": 3584,
        "fullatt_block_indexes": (7, 15, 23, 31),
    },
    width="hidden_size",
    out="out_hidden_size",
    norm="rms",
    mlp_layers=("gate_proj", "up_proj", "down_proj"),
)
QWEN3_VL = Kind(
    {
        **_COMMON,
        "depth": 27,
        "hidden_size": 1152,
        "hidden_act": "gelu_pytorch_tanh",
        "intermediate_size": 4304,
        "patch_size": 16,
        "out_hidden_size": 3584,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": (8, 16, 24),
    },
    width="hidden_size",
    out="out_hidden_size",
    norm="layer",
    mlp_layers=("linear_fc1", "linear_fc2"),
    patch_bias=True,
)


def grid_tower(vision: Settings, kind: Kind, pixels: tuple[int, int]) -> GridSpec:
    """The tower of ``kind`` that ``vision`` describes, for pictures of ``pixels``, the least and the most.

    Raises :class:`~clasp_trt.errors.CheckpointError` for a tower that cannot be compiled.
    """
    depth, many = (other if vision.has(other) else own for other, own in _OTHER_NAMES)
    vision = vision.over(kind.defaults)
    vision.require("in_channels", CHANNELS)
    layers, width, heads = vision.count(depth), vision.count(kind.width), vision.count(many)
    if width % heads or width // heads % 4:
        raise vision.wrong(many, f"a divisor of the width {width} into heads of a multiple of 4")
    merge, patch = vision.count("spatial_merge_size"), vision.count("patch_size")
    own = kind.defaults
    return GridSpec(
        layers=layers,
        width=width,
        feature_layer=layers,
        saliency="received",
        patching=Patching(patch, merge, *pixels, _window(vision, patch, merge) if "window_size" in own else None),
        time=vision.count("temporal_patch_size"),
        heads=heads,
        mlp=width * vision.count("mlp_ratio") if "mlp_ratio" in own else vision.count("intermediate_size"),
        mlp_layers=kind.mlp_layers,
        activation=vision.activation("hidden_act", *ACTIVATIONS),
        norm=kind.norm,
        theta=_theta(vision),
        patch_bias=kind.patch_bias,
        full_blocks=_full(vision, layers) if "window_size" in own else tuple(range(layers)),
        table=_table(vision) if "num_position_embeddings" in own else None,
        deepstack=_stacked(vision, layers) if "deepstack_visual_indexes" in own else (),
        merger=MergerSpec(width, merge**2, vision.count(kind.out), kind.norm),
    )


def _window(vision: Settings, patch: int, merge: int) -> int:
    """Patches of a side of a window, whole blocks of them."""
    window = vision.count("window_size") // merge // patch * merge
    if window == 0:
        raise vision.wrong("window_size", f"pixels of at least one token: {patch * merge}")
    return window


def _full(vision: Settings, layers: int) -> tuple[int, ...]:
    """The blocks that attend to a whole frame; those beyond the last mean nothing."""
    found = sorted({block for block in _blocks(vision, "fullatt_block_indexes") if block < layers})
    if not found:
        expected = f"at least one of the tower's {layers}, counted from 0: saliency is attention over a whole picture"
        raise vision.wrong("fullatt_block_indexes", expected)
    return tuple(found)


def _stacked(vision: Settings, layers: int) -> tuple[int, ...]:
    found = _blocks(vision, "deepstack_visual_indexes")
    if len(set(found)) < len(found) or max(found, default=0) >= layers:
        raise vision.wrong("deepstack_visual_indexes", f"different ones of the tower's {layers} blocks, counted from 0")
    return found


def _blocks(vision: Settings, name: str) -> tuple[int, ...]:
    given = vision.get(name)
    if not isinstance(given, (list, tuple)) or not all(type(each) is int and each >= 0 for each in given):
        raise vision.wrong(name, "numbers of blocks, counted from 0")
    return tuple(given)


def _table(vision: Settings) -> int:
    places = vision.count("num_position_embeddings")
    side = math.isqrt(places)
    if side**2 != places or side < 2:
        raise vision.wrong("num_position_embeddings", "a square number, such as 2304")
    return side


def _theta(vision: Settings) -> float:
    given = vision.part("rope_parameters", {"rope_theta": _THETA, "rope_type": "default"})
    given.require("rope_type", "default", "axial")
    return given.positive("rope_theta")
