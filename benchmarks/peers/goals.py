"""What the bundles are held to, against peers that were measured in the same run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers.table import Figure, Row

_TRANSFORMERS = ("transformers sdpa", "transformers compiled")
_INT4 = ("clasp-trt INT4 unpruned", "clasp-trt INT4 budget 192", "clasp-trt INT4 budget 64")


@dataclass(frozen=True)
class Goal:
    """The least ``figure`` of the rows ``ours`` is at most ``bound`` times that of ``theirs``, or just ``bound``."""

    what: str
    figure: Figure
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    bound: float

    def value(self, found: Sequence[Row]) -> float | None:
        """What is held against the bound, or None where a side was not measured."""
        values = {row.name: float(getattr(row, self.figure)) for row in found}
        ours = [values[name] for name in self.ours if name in values]
        theirs = [values[name] for name in self.theirs if name in values]
        if not ours or (self.theirs and not theirs):
            return None
        return min(ours) / (min(theirs) if self.theirs else 1.0)


GOALS: Sequence[Goal] = (
    Goal(
        "time to first token at budget 64, of transformers' best",
        "ttft_ms",
        ("clasp-trt FP32 budget 64", "clasp-trt INT8 budget 64", "clasp-trt INT4 budget 64"),
        _TRANSFORMERS,
        0.2,
    ),
    Goal(
        "the same with half of the patches dropped inside the tower",
        "ttft_ms",
        ("clasp-trt INT8 budget 64, tower 6:50%",),
        _TRANSFORMERS,
        0.2,
    ),
    Goal(
        "time to first token at 64 of 576 tokens in INT8, of OpenVINO with CDPruner (Qwen2-VL)",
        "ttft_ms",
        ("clasp-trt Qwen2-VL INT8 budget 64",),
        ("openvino Qwen2-VL INT8 CDPruner",),
        0.6,
    ),
    Goal(
        "time to first token unpruned in INT8, of transformers' best",
        "ttft_ms",
        ("clasp-trt INT8 unpruned",),
        _TRANSFORMERS,
        0.5,
    ),
    Goal("time per token in INT4, of transformers' best", "tpot_ms", _INT4, _TRANSFORMERS, 0.3),
    Goal("time per token in INT4, of onnxruntime-genai", "tpot_ms", _INT4, ("onnxruntime-genai INT4",), 1.0),
    Goal("peak memory in INT4 at budget 64, MB", "peak_rss_mb", ("clasp-trt INT4 budget 64",), (), 1600.0),
)


def judged(found: Sequence[Row]) -> list[dict[str, str | float | None]]:
    """Each goal with its value, its bound, and ``reached``, ``missed`` or ``not measured``."""
    told = []
    for goal in GOALS:
        value = goal.value(found)
        verdict = "not measured" if value is None else "reached" if value <= goal.bound else "missed"
        told.append({"goal": goal.what, "value": value, "bound": goal.bound, "verdict": verdict})
    return told


def text(told: Sequence[dict[str, str | float | None]]) -> str:
    """The goals in Markdown."""
    lines = ["| goal | at most | measured | |", "|---|---:|---:|---|"]
    for each in told:
        value = "-" if each["value"] is None else f"{each['value']:.4g}"
        lines.append(f"| {each['goal']} | {each['bound']:g} | {value} | {each['verdict']} |")
    return "\n".join(lines)
