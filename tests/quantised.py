"""Matrices in the formats of quantised checkpoints as a second implementation writes them: bit by bit.

A matrix is integers ``q`` ``[outputs, inputs]`` from 0, zero points ``z`` and scales ``s`` ``[outputs, groups]``, and
stands for ``(q - z) * s``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass(frozen=True)
class Matrix:
    q: NDArray[np.int64]
    z: NDArray[np.int64]
    s: NDArray[Any]
    bits: int
    own: NDArray[np.int64] | None = None

    @property
    def of(self) -> NDArray[np.int64]:
        """The group of each input: ``own``, or runs."""
        inputs, groups = self.q.shape[1], self.s.shape[1]
        return np.arange(inputs) // (inputs // groups) if self.own is None else self.own

    @property
    def floats(self) -> NDArray[np.float32]:
        """What it stands for: no product of so few bits is rounded."""
        return (self.q - self.z[:, self.of]).astype(np.float32) * self.s[:, self.of].astype(np.float32)


Tensors = dict[str, torch.Tensor]
Pack = Callable[[Matrix], Tensors]


def quantised(
    weights: NDArray[np.float32], bits: int, group: int, *, symmetric: bool, scale: Any = np.float16
) -> Matrix:
    """``weights`` ``[outputs, inputs]`` to the nearest integers, ``group`` inputs, or all for -1, to a scale."""
    outputs, inputs = weights.shape
    apart = weights.reshape(outputs, -1, inputs if group == -1 else group)
    top, middle = 2**bits - 1, 2 ** (bits - 1)
    if symmetric:
        s = (np.abs(apart).max(-1) / (middle - 1)).astype(scale)
        z = np.full(s.shape, middle)
    else:
        low, high = np.minimum(apart.min(-1), 0), np.maximum(apart.max(-1), 0)
        s = ((high - low) / top).astype(scale)
        z = np.rint(-low / s.astype(np.float32)).astype(np.int64).clip(1, top)  # 0 is not to be stored in GPTQ's first
    q = (np.rint(apart / s.astype(np.float32)[..., None]) + z[..., None]).clip(0, top).astype(np.int64)
    return Matrix(q.reshape(outputs, inputs), z, s, bits)


def word(numbers: list[int], bits: int) -> int:
    """The signed 32-bit word of ``numbers``, the first in its lowest bits."""
    whole = 0
    for place, number in enumerate(numbers):
        assert 0 <= number < 2**bits
        whole |= number << (bits * place)
    return whole - 2**32 if whole >= 2**31 else whole


def rows_packed(matrix: NDArray[np.int64], bits: int, order: tuple[int, ...] | None = None) -> torch.Tensor:
    """Runs of a row as words, the last filled up with 0; ``order`` says which number of a run comes first."""
    each = 32 // bits
    full = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % each)))
    order = order or tuple(range(each))
    packed = [
        [word([int(row[start + place]) for place in order], bits) for start in range(0, len(row), each)] for row in full
    ]
    return torch.tensor(packed, dtype=torch.int64).to(torch.int32)


def gptq(matrix: Matrix, *, version: int = 1) -> Tensors:
    return {
        "qweight": rows_packed(matrix.q, matrix.bits).T.contiguous(),
        "qzeros": rows_packed(matrix.z.T - (1 if version == 1 else 0), matrix.bits),
        "scales": torch.from_numpy(np.ascontiguousarray(matrix.s.T)),
        "g_idx": torch.from_numpy(matrix.of.astype(np.int32)),
    }


def awq(matrix: Matrix) -> Tensors:
    return {
        "qweight": rows_packed(np.ascontiguousarray(matrix.q.T), 4, AWQ_ORDER),
        "qzeros": rows_packed(np.ascontiguousarray(matrix.z.T), 4, AWQ_ORDER),
        "scales": torch.from_numpy(np.ascontiguousarray(matrix.s.T)),
    }


def pack_quantized(matrix: Matrix, *, zeros: str | None = "packed") -> Tensors:
    middle = 2 ** (matrix.bits - 1)
    found = {
        "weight_packed": rows_packed(matrix.q, matrix.bits),
        "weight_shape": torch.tensor(matrix.q.shape, dtype=torch.int64),
        "weight_scale": torch.from_numpy(matrix.s).to(torch.bfloat16),
    }
    if zeros == "packed":
        found["weight_zero_point"] = rows_packed(matrix.z.T, matrix.bits).T.contiguous()
    elif zeros == "whole":
        found["weight_zero_point"] = torch.from_numpy(matrix.z - middle).to(torch.int8)
    return found


def int_quantized(matrix: Matrix) -> Tensors:
    return {
        "weight": torch.from_numpy(matrix.q - 128).to(torch.int8),
        "weight_scale": torch.from_numpy(matrix.s).to(torch.bfloat16),
    }


@dataclass(frozen=True)
class Eighths:
    """FP8: ``codes`` uint8 ``[outputs, inputs]`` and scales ``s`` ``[down, across]``, each of a ``tile``."""

    codes: NDArray[np.uint8]
    s: NDArray[np.float32]
    tile: tuple[int, int]

    @property
    def floats(self) -> NDArray[np.float32]:
        outputs, inputs = self.codes.shape
        table = np.array([e4m3(code) for code in range(256)], np.float32)
        down, right = (np.arange(size) // each for size, each in zip((outputs, inputs), self.tile, strict=True))
        return table[self.codes] * self.s[np.ix_(down, right)]


def e4m3(code: int) -> float:
    """The number that a byte is: a sign, 4 bits of exponent less 7, 3 of mantissa, and no infinity."""
    sign, exponent, mantissa = -1 if code & 0x80 else 1, code >> 3 & 0xF, code & 7
    if (exponent, mantissa) == (15, 7):
        return float("nan")
    return sign * (mantissa / 8 * 2**-6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7))


def eighths(weights: NDArray[np.float32], tile: tuple[int, int], *, powers: bool = False) -> Eighths:
    """The nearest of FP8; a tile of 0 outputs or inputs is of all of them. ``powers``: scales are powers of two."""
    high, wide = (size or whole for size, whole in zip(tile, weights.shape, strict=True))
    downs, across = -(-weights.shape[0] // high), -(-weights.shape[1] // wide)
    s, codes = np.empty((downs, across), np.float32), np.empty(weights.shape, np.uint8)
    positive = np.array([e4m3(code) for code in range(127)])
    for down in range(downs):
        for right in range(across):
            at = slice(down * high, (down + 1) * high), slice(right * wide, (right + 1) * wide)
            scale = np.abs(weights[at]).max() / 448
            s[down, right] = 2.0 ** np.ceil(np.log2(scale)) if powers else scale
            sizes = np.abs(weights[at])[..., None] / s[down, right]
            codes[at] = np.abs(sizes - positive).argmin(-1) | np.where(weights[at] < 0, 0x80, 0)
    return Eighths(codes, s, (high, wide))


def fp8(matrix: Eighths, *, scale: str = "weight_scale_inv", form: Callable[[torch.Tensor], torch.Tensor] | None = None,
        **others: float) -> Tensors:  # fmt: skip
    """``scale`` is what a library calls it, ``form`` how it stores the scales; ``others`` are numbers beside them."""
    scales = torch.from_numpy(matrix.s)
    return {
        "weight": torch.from_numpy(matrix.codes).view(torch.float8_e4m3fn),
        scale: scales if form is None else form(scales),
        **{name: torch.tensor(value) for name, value in others.items()},
    }


def compressed(layout: str, **weights: object) -> dict[str, Any]:
    """The ``quantization_config`` of compressed-tensors."""
    group = {"targets": ["Linear"], "weights": {"type": "int", **weights}, "input_activations": None}
    return {
        "quant_method": "compressed-tensors", "format": layout, "config_groups": {"group_0": group},
        "ignore": ["lm_head"], "quantization_status": "compressed", "kv_cache_scheme": None,
    }  # fmt: skip


def quantise_checkpoint(
    folder: Path,
    out: Path,
    config: dict[str, Any],
    part: str,
    make: Callable[[NDArray[np.float32]], Any],
    pack: Callable[[Any], Tensors],
) -> tuple[Path, Path]:
    """Two copies of a checkpoint of one file: one whose matrices with ``part`` in their names are packed, and one whose
    float32 weights are what those stand for."""
    for name in ("packed", "floats"):
        shutil.copytree(folder, out / name)
    (file,) = (path.name for path in folder.glob("*.safetensors"))
    packed = load_file(folder / file)
    floats = dict(packed)
    for name, tensor in list(packed.items()):
        if part in name and tensor.dim() == 2:
            matrix = make(packed.pop(name).float().numpy())
            packed |= {f"{name.removesuffix('.weight')}.{each}": found for each, found in pack(matrix).items()}
            floats[name] = torch.from_numpy(matrix.floats)
    save_file(packed, out / "packed" / file, metadata={"format": "pt"})
    save_file(floats, out / "floats" / file, metadata={"format": "pt"})
    path = out / "packed" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": config}))
    return out / "packed", out / "floats"
