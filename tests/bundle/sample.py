"""A bundle written by hand, as an attacker would, and what changes or refuses it."""

from __future__ import annotations

import copy
import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clasp_trt import bundle as b
from clasp_trt.errors import BundleError
from clasp_trt.policy import prior

POLICY_TEXT = prior((1, 3), 3).dumps()
ENGINE = b"engine" * 100
SPARSE = {"asked": "2:4", "scores": "tamp", "zeros": 50, "weights": 100, "data": "0" * 64, "rows": 16, "tokens": 99}


def entry(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _port(text: str) -> dict[str, Any]:
    """``hidden float16 1 sequence 8`` as a port."""
    name, dtype, *shape = text.split()
    return {"name": name, "dtype": dtype, "shape": [int(dim) if dim.isdigit() else dim for dim in shape]}


def _graph(name: str, inputs: str, outputs: str) -> dict[str, Any]:
    ports = ([_port(text) for text in side.split(", ")] for side in (inputs, outputs))
    return {"name": name, "path": "graphs/decoder.onnx", "inputs": next(ports), "outputs": next(ports)}


def _segment(number: int, layers: range, capacity: int, end: str, watched: bool) -> dict[str, Any]:
    names = [f"{kind}_{layer}" for layer in layers for kind in ("key", "value")]
    caches = [[f"{side}_{name} float16 slots 1 {capacity} 4" for name in names] for side in ("past", "present")]
    rows = (
        "hidden float16 slots sequence 8, position_ids int64 slots sequence, write_index int64 slots, kv_length int64 1"
    )
    index = ["reference_index int64 reference", "visual_index int64 visual_tokens"] if watched else []
    received = ["saliency float32 slots visual_tokens"] if watched else []
    return _graph(f"segment_{number}", ", ".join([rows, *index, *caches[0]]), ", ".join([end, *received, *caches[1]]))


def _prune(number: int, tokens: int, keep: int, narrowed: str) -> dict[str, Any]:
    return _graph(
        f"prune_{number}",
        f"hidden float16 1 sequence 8, position_ids int64 1 sequence, saliency float32 1 {tokens}, "
        f"gram float32 1 {tokens} {tokens}, pivot_count int64 1, visual_index int64 {tokens}, "
        "reference_index int64 reference",
        f"hidden_out float16 1 kept_sequence 8, position_ids_out int64 1 kept_sequence, kept int64 1 {keep}, "
        f"is_pivot bool 1 {keep}{narrowed}",
    )


ROWS = "hidden_out float16 slots sequence 8"

# Written by hand, as an attacker would, and not by the code under test.
VALID: dict[str, Any] = {
    "schema": 2,
    "model": {
        "model_type": "llava",
        "name": "tiny",
        "vision": {"layers": 4, "width": 8, "feature_layer": 3, "saliency": "cls"},
        "tokens": [16, 16, 16],
        "decoder": {
            **{"layers": 4, "width": 8, "heads": 2, "kv_heads": 1, "head_dim": 4, "vocab_size": 32},
            **{"axes": 1, "visible": "causal"},
        },
        "stop_token_ids": [2],
    },
    "media": {
        "image": {
            "processor": {
                **{"kind": "square", "side": 24, "cell": 6, "shortest_edge": 24, "size": None, "resample": "bicubic"},
                **{"rescale": 0.00392156862745098, "mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
            },
            "layout": {
                **{"kind": "run", "placeholder": "<image>", "token": "<image>", "id": 31, "before": "", "after": "\n"},
            },
            "positions": {"kind": "sequential", "start": 0},
        }
    },
    "precision": "fp16",
    "prune_at": "decoder",
    "schedule": {
        "tokens": 16,
        "layers": 4,
        "source": "given",
        "stages": [{"after_layer": 0, "keep": 8}, {"after_layer": 2, "keep": 2}],
    },
    "budget": None,
    "max_context": 64,
    "opset": 24,
    "graphs": [
        _graph(
            "vision",
            "pixel_values float32 batch 3 24 24",
            "features float16 batch 2 16 8, cls_saliency float32 batch 16",
        ),
        _graph("projector", "features float16 batch 2 16 8, alpha float32 batch 2", "visual float16 batch 16 8"),
        _graph(
            "embed",
            "input_ids int64 slots sequence, visual float16 1 visual_tokens 8, visual_index int64 visual_tokens",
            "hidden float16 slots sequence 8",
        ),
        _graph("gram", "visual float16 batch 16 8", "gram float32 batch 16 16"),
        _prune(0, 16, 8, ", gram_out float32 1 8 8, visual_index_out int64 8, reference_index_out int64 reference"),
        _prune(1, 8, 2, ""),
        _segment(0, range(1), 64, ROWS, watched=True),
        _segment(1, range(1, 3), 56, ROWS, watched=True),
        _segment(2, range(3, 4), 50, "logits float32 slots 1 32", watched=False),
        _graph("greedy", "logits float32 slots 1 32", "token int64 slots 1"),
    ],
    "segments": [
        {"graph": "segment_0", "first_layer": 0, "last_layer": 0, "capacity": 64},
        {"graph": "segment_1", "first_layer": 1, "last_layer": 2, "capacity": 56},
        {"graph": "segment_2", "first_layer": 3, "last_layer": 3, "capacity": 50},
    ],
    "backend": "onnxruntime",
    "target": "cpu",
    "versions": {"clasp-trt": "0.1.0"},
    "files": {"graphs/decoder.onnx": entry(ENGINE), "policy.json": entry(POLICY_TEXT.encode())},
}

Place = tuple[str | int, ...]


PROCESSOR: Place = ("media", "image", "processor")
LAYOUT: Place = ("media", "image", "layout")
POSITIONS: Place = ("media", "image", "positions")
INTEGER_PLACES: list[Place] = [
    *(("model", "vision", key) for key in ("layers", "width", "feature_layer")),
    *(("model", "decoder", key) for key in VALID["model"]["decoder"] if key != "visible"),
    *(("model", "tokens", place) for place in range(3)),
    *((*PROCESSOR, key) for key in ("side", "cell", "shortest_edge")),
    (*LAYOUT, "id"),
    (*POSITIONS, "start"),
    ("model", "stop_token_ids", 0),
    ("schedule", "tokens"),
    ("schedule", "layers"),
    ("schedule", "stages", 0, "after_layer"),
    ("schedule", "stages", 0, "keep"),
    ("budget",),
    ("max_context",),
    ("opset",),
    ("graphs", 0, "inputs", 0, "shape", 0),
    *(("segments", 0, key) for key in ("first_layer", "last_layer", "capacity")),
    ("files", "policy.json", "bytes"),
    ("schema",),
]


def altered(place: Place, value: object) -> dict[str, Any]:
    changed = copy.deepcopy(VALID)
    at: Any = changed
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    return changed


def without(place: Place) -> dict[str, Any]:
    changed = copy.deepcopy(VALID)
    at: Any = changed
    for step in place[:-1]:
        at = at[step]
    del at[place[-1]]
    return changed


def refused(root: Path, malformation: type[BundleError], *said: str) -> None:
    """Opening raises exactly ``malformation``, in one printable line with the bundle's path and every ``said``."""
    with pytest.raises(BundleError) as error:
        b.Bundle.open(root)
    assert type(error.value) is malformation, error.value
    line = str(error.value)
    for part in (str(root), *said):
        assert part in line, line
    assert line.isprintable()


def name_of(place: Place) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")


def _socket(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # the address is limited to 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


INSTEAD: dict[str, Callable[[Path], object]] = {
    "folder": lambda path: path.mkdir(),
    "FIFO": os.mkfifo,
    "socket": _socket,
    "link within": lambda path: path.symlink_to(path.parent / "twin"),
    "link out": lambda path: path.symlink_to("/etc/passwd"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
}
