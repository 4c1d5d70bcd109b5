"""How good a router is, how honest its confidence, and below which confidence it should say Default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clasp_trt.tools.routers.linear import softmax

_BINS = 15
_TEMPERATURES = np.exp(np.linspace(np.log(0.1), np.log(10.0), 401))
_SURE = 0.9
_THRESHOLDS = np.linspace(0.0, 0.99, 100)


@dataclass(frozen=True)
class Costs:
    """What a decision costs beside the right one, as shares of the score.

    Table 22 of the paper forces growing shares of the samples to Default (four rows), or to a wrong category (five
    rows). The shares themselves were lost in the text at hand, so the first four rows of both are taken to have equal
    shares: then one cost is to the other as the sums of what those rows lose, each the mean over the five benchmarks
    of the loss relative to no error (1848, 57.6, 69.6, 33.3, 85.6). Only this ratio matters for the threshold.
    """

    default: float = 0.130
    wrong: float = 0.182


def accuracy(logits: NDArray[np.float32], categories: NDArray[np.int64]) -> float:
    """Share of prompts whose likeliest category is the right one."""
    return float(np.mean(logits.argmax(axis=1) == categories))


def calibration_error(probabilities: NDArray[np.float64], categories: NDArray[np.int64]) -> float:
    """Expected calibration error: how far confidence is from accuracy, over 15 bins of equal width, by their share."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == categories
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs(np.sum(confidence[bins == number] - right[bins == number])) for number in range(_BINS)]
    return float(sum(gaps) / len(categories))


def fit_temperature(logits: NDArray[np.float32], categories: NDArray[np.int64]) -> float:
    """The temperature from 0.1 to 10 under which the right categories are likeliest."""

    def loss(temperature: float) -> float:
        right = softmax(logits, temperature)[np.arange(len(categories)), categories]
        return float(-np.mean(np.log(np.maximum(right, 1e-12))))

    return float(min(_TEMPERATURES, key=loss))


def decide(probabilities: NDArray[np.float64], threshold: float) -> NDArray[np.int64]:
    """The category of each prompt: the likeliest one, or Default (the last) below ``threshold``."""
    best = probabilities.argmax(axis=1)
    return np.asarray(np.where(probabilities.max(axis=1) >= threshold, best, probabilities.shape[1] - 1))


def cost(decided: NDArray[np.int64], categories: NDArray[np.int64], costs: Costs, default: int) -> float:
    """Mean cost of decisions: nothing for the right one, ``costs.default`` for Default, else ``costs.wrong``."""
    each = np.where(decided == default, costs.default, costs.wrong)
    return float(np.mean(np.where(decided == categories, 0.0, each)))


def best_threshold(probabilities: NDArray[np.float64], categories: NDArray[np.int64], costs: Costs) -> float:
    """The threshold with the least expected cost on calibrated probabilities.

    With probability ``p`` of the likeliest category and ``q`` of Default, naming it costs ``(1 - p) wrong`` and Default
    ``(1 - q) default``: where ``q`` is small, the bound lies at ``p = 1 - default / wrong``. The measured optimum is
    taken; of thresholds whose cost equals it to a thousandth of it, the one closest to that bound.
    """
    default = probabilities.shape[1] - 1
    measured = [cost(decide(probabilities, value), categories, costs, default) for value in _THRESHOLDS]
    bound = 1 - costs.default / costs.wrong
    near = [value for value, paid in zip(_THRESHOLDS, measured, strict=True) if paid <= min(measured) * 1.001]
    return round(float(min(near, key=lambda value: abs(value - bound))), 2)


def by_category(
    decided: NDArray[np.int64], categories: NDArray[np.int64], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Per category: prompts, and the shares decided rightly, as Default, and wrongly."""
    table = {}
    for number, name in enumerate(names):
        own = decided[categories == number]
        if len(own):
            right = float(np.mean(own == number))
            default = float(np.mean(own == len(names) - 1)) if number < len(names) - 1 else 0.0
            table[name] = {
                "prompts": len(own),
                "right": round(right, 4),
                "default": round(default, 4),
                "wrong": round(max(0.0, 1 - right - default), 4),
            }
    return table


def by_kind(
    probabilities: NDArray[np.float64], decided: NDArray[np.int64], categories: NDArray[np.int64], kinds: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Per kind of prompt, in the order of their first: prompts, the shares decided rightly and as Default, the mean
    confidence in the likeliest category with the share of prompts that it is right for, the calibration error of that,
    and the share that is wrong and yet above 0.9."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == categories
    table = {}
    for kind in dict.fromkeys(kinds):
        own = np.array([other == kind for other in kinds])
        table[kind] = {
            "prompts": int(own.sum()),
            "right": round(float(np.mean(decided[own] == categories[own])), 4),
            "default": round(float(np.mean(decided[own] == probabilities.shape[1] - 1)), 4),
            "likeliest_right": round(float(np.mean(right[own])), 4),
            "confidence": round(float(np.mean(confidence[own])), 4),
            "calibration_error": round(calibration_error(probabilities[own], categories[own]), 4),
            "sure_and_wrong": round(float(np.mean(~right[own] & (confidence[own] > _SURE))), 4),
        }
    return table
