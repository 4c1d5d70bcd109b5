"""Rounding with compensation: GPTQ (Frantar et al., 2022, arXiv:2210.17323), symmetric, in the order of the inputs.

A matrix ``W`` ``[outputs, inputs]`` is rounded so that its products with the rows ``X`` ``[rows, inputs]`` of real
requests change little: input after input becomes an integer, and what that changes is made up for by the inputs that
are still floats, as the inverse of ``H = Xᵀ X`` says. No input changes its place (``act-order``), so that a block of
inputs keeps one scale, as ``DequantizeLinear`` has it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

DAMP = 0.01
"""What is added to the diagonal of ``H``, over its mean."""
SHRUNK = tuple(1 - step / 40 for step in range(21))
"""Scales that a block of 4 bits may have, over that of its greatest magnitude: what is beyond is clipped."""
_TOGETHER = 128
"""Inputs after which the rest of a matrix is made up for at once: the same numbers, in one product. Blocks divide
it."""


class Compensated(NamedTuple):
    """``values`` int8 ``[outputs, inputs]``, and ``scales`` ``[outputs, blocks]`` in the type of the graph."""

    values: torch.Tensor
    scales: torch.Tensor


def compensated(
    matrix: torch.Tensor,
    gram: torch.Tensor,
    bits: int,
    block: int | None,
    dtype: torch.dtype,
    zeros: torch.Tensor | None = None,
) -> Compensated:
    """``matrix`` ``[outputs, inputs]`` as integers of ``bits`` and scales of ``dtype``, one for ``block`` inputs of an
    output, or for all. ``gram`` is ``H``, float64 ``[inputs, inputs]``. Where the mask ``zeros`` is true the integer is
    0, for which the inputs after it make up as for any other."""
    weights, most = matrix.to(torch.float64, copy=True), 2 ** (bits - 1) - 1
    outputs, inputs = weights.shape
    width = block or inputs
    weigh = gram.diagonal().clone()
    upper = _upper(gram)
    values = torch.empty(outputs, inputs, dtype=torch.int8)
    scales = torch.empty(outputs, inputs // width, dtype=dtype)
    for first in range(0, inputs, _TOGETHER):
        last = min(first + _TOGETHER, inputs)
        errors = torch.zeros(outputs, last - first, dtype=torch.float64)
        for column in range(first, last):
            if column % width == 0:
                part = slice(column, column + width)  # in this run, or all of the inputs
                stays = weights[:, part] if zeros is None else weights[:, part].masked_fill(zeros[:, part], 0)
                scales[:, column // width] = _scale(stays, weigh[part], most, dtype)
            scale = scales[:, column // width].to(torch.float64)
            integers = torch.round(weights[:, column] / scale).clamp_(-most, most)
            if zeros is not None:
                integers.masked_fill_(zeros[:, column], 0)
            values[:, column] = integers.to(torch.int8)
            error = (weights[:, column] - integers * scale) / upper[column, column]
            errors[:, column - first] = error
            weights[:, column + 1 : last] -= torch.outer(error, upper[column, column + 1 : last])
        weights[:, last:] -= errors @ upper[first:last, last:]
    return Compensated(values, scales)


def _upper(gram: torch.Tensor) -> torch.Tensor:
    """The upper Cholesky factor of the inverse of ``gram``, damped; an input that is never anything but 0 says nothing
    of the others."""
    damped = gram.clone()
    diagonal = damped.diagonal()
    unseen = diagonal == 0
    diagonal += DAMP * diagonal.mean()
    diagonal[unseen] += 1
    lower = torch.linalg.cholesky(damped)
    del damped, diagonal  # of the widest matrices two are held at once, and no third
    inverse = torch.cholesky_inverse(lower)
    del lower
    factor: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def _scale(part: torch.Tensor, weigh: torch.Tensor, most: int, dtype: torch.dtype) -> torch.Tensor:
    """The scale of each output of ``part`` ``[outputs, inputs of a block]`` with the least error, each input's counted
    by ``weigh``."""
    greatest = part.abs().amax(1)
    best = torch.full_like(greatest, torch.inf)
    found = torch.ones_like(greatest, dtype=dtype)
    for shrunk in SHRUNK:
        scale = (greatest * shrunk / most).to(dtype)
        scale[scale == 0] = 1
        wide = scale.to(torch.float64)[:, None]
        error = (torch.round(part / wide).clamp_(-most, most) * wide - part).square() @ weigh
        better = error < best
        best, found = torch.where(better, error, best), torch.where(better, scale, found)
    return found
