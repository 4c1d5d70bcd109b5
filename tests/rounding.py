"""Rounding to the nearest integer as a second implementation: number by number, in Python's own arithmetic."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

Scheme = tuple[int, int | None]  # bits, and inputs of a block


def rounded(matrix: NDArray[np.float32], bits: int, block: int | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Integers ``[outputs, inputs]`` and float32 scales ``[outputs, blocks]`` of a matrix ``[outputs, inputs]``."""
    most = {4: 7, 8: 127}[bits]
    values, scales = np.zeros(matrix.shape, np.int64), []
    for row, weights in enumerate(matrix.astype(np.float32)):
        width = len(weights) if block is None else block
        scales.append(list[np.float32]())
        for start in range(0, len(weights), width):
            part = weights[start : start + width]
            scale = max(abs(each) for each in part) / np.float32(most) or np.float32(1)
            values[row, start : start + width] = [max(-most, min(most, round(float(each / scale)))) for each in part]
            scales[-1].append(scale)
    return values, np.array(scales, np.float32)


def floats(values: NDArray[Any], scales: NDArray[Any]) -> NDArray[np.float32]:
    """The matrix that they stand for."""
    outputs, inputs = values.shape
    wide = np.repeat(scales.astype(np.float32), inputs // scales.shape[1], axis=1)
    return (values.astype(np.float32) * wide).reshape(outputs, inputs)


def halved(scheme: Scheme, inputs: int) -> Scheme:
    """The scheme with the largest of its block, half of it and so on that divides ``inputs``."""
    bits, block = scheme
    while block is not None and inputs % block:
        block //= 2
    return bits, block


def rounded_checkpoint(folder: Path, out: Path, schemes: dict[str, Scheme]) -> Path:
    """A copy of a LLaVA checkpoint whose matrices are rounded: those whose names on disk hold a key of ``schemes``, and
    which ``nn.Linear`` or ``nn.Embedding`` has in the stock model, positions apart."""
    shutil.copytree(folder, out)
    (path,) = out.glob("*.safetensors")
    tensors = load_file(path)
    for name, tensor in tensors.items():
        for key, scheme in schemes.items():
            if key in name and tensor.dim() == 2 and name.endswith("weight") and "position" not in name:
                matrix = tensor.to(torch.float32).numpy()
                whole = floats(*rounded(matrix, *halved(scheme, matrix.shape[1])))
                tensors[name] = torch.from_numpy(whole)  # in float32, whatever the type was
    save_file(tensors, path, metadata={"format": "pt"})
    assert json.loads((out / "config.json").read_text())["model_type"] == "llava"
    return out
