"""TAMP as a second implementation: number by number, in Python's own arithmetic, from the paper and what its authors'
code computes. Shares no code with ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]


def cosines(outputs: Rows) -> list[list[float]]:
    lengths = [math.sqrt(sum(float(x) ** 2 for x in row)) or 1.0 for row in outputs]
    return [
        [sum(float(x) * float(y) for x, y in zip(one, other, strict=True)) / lengths[i] / lengths[j]
         for j, other in enumerate(outputs)]
        for i, one in enumerate(outputs)
    ]  # fmt: skip


def three(outputs: Rows, visual: Sequence[bool]) -> tuple[float, float, float]:
    """Densities of visual tokens, of text, and of the two."""
    table, count = cosines(outputs), range(len(outputs))

    def pairs(kind: bool) -> list[float]:
        return [
            table[i][j] for i in count for j in count if i < j and visual[i] is visual[j] is kind and table[i][j] > 0
        ]

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    across = [table[i][j] for i in count for j in count if visual[i] and not visual[j]]
    return mean(pairs(True)), mean(pairs(False)), mean(across)


def taken(outputs: Rows, visual: Sequence[bool], attention: Sequence[float]) -> list[int]:
    """The tokens that stand for all, each discrepancy computed anew."""
    table, count = cosines(outputs), range(len(outputs))
    bound = 0.1 * math.sqrt(max(0.0, 1 - sum(three(outputs, visual)) / 3))
    near = [sorted((j for j in count if j != i), key=lambda j: (1 - table[i][j], j))[:3] for i in count]
    scores = [attention[i] + sum(math.exp(table[i][j] - 1) * attention[j] for j in near[i]) for i in count]
    kernel = [[math.exp(table[i][j] - 1) for j in count] for i in count]  # |x - y|² is 2 - 2 cos
    found: list[int] = []
    while len(found) < len(outputs):
        token = max((i for i in count if i not in found), key=lambda i: (scores[i], -i))
        for j in near[token]:
            scores[j] -= math.exp(-0.2 * (1 - table[token][j])) * max(scores[token], 0.0)
        found.append(token)
        all_with_all = sum(map(sum, kernel)) / len(kernel) ** 2
        all_with_taken = sum(kernel[i][j] for i in count for j in found) / len(kernel) / len(found)
        among = sum(kernel[i][j] for i in found for j in found) / len(found) ** 2
        if all_with_all + among - 2 * all_with_taken < bound:
            break
    return found


def scores(weight: Any, rows: Sequence[Rows]) -> Rows:
    """``|W| ||X||`` by element, over all ``rows`` ``[tokens, inputs]`` of all requests."""
    found = np.zeros(weight.shape)
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            norm = math.sqrt(sum(float(row[j]) ** 2 for request in rows for row in request))
            found[i, j] = abs(float(weight[i, j])) * norm
    return found
