"""Bundles as bars, one under the other: the time to first token by stage, and that of a decode step by graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clasp_trt.chain.names import VISION
from clasp_trt.tools.profile.report import Measurement, Report
from clasp_trt.tools.profile.stages import GROUPS, REST

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")

INK, MUTED, GRID = "#222222", "#666666", "#E6E6E6"
# Okabe and Ito, which colour-blind readers can tell apart; neighbours differ in lightness as well.
COLOURS = {
    "route": "#F0E442",
    "preprocess": "#CC79A7",
    VISION: "#009E73",
    "project": "#E69F00",
    "prefill": "#0072B2",
    "prune": "#D55E00",
    "rest": "#BBBBBB",
}
LABELS = {
    "prefill": "prefill, by segment",
    "prune": "similarities and pruning",
    "route": "routing, tokens",
    "project": "fusion, projector",
}
_BAR = 0.62  # of the distance between bars


class Part(NamedTuple):
    """A piece of a bar: milliseconds, and how it is filled; ``pale`` is the share of white in its colour."""

    group: str
    milliseconds: float
    pale: float


def save(path: Path, report: Report) -> None:
    """Draws ``report`` to a file of a suffix of :data:`FORMATS`.

    Parts are as long as their medians, which need not add up to the median of the whole: that is where the mark is.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(report.measurements)
    figure = Figure(figsize=(12, 2.3 + 0.75 * count), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    first, step = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    prefills = [first_token(measured) for measured in report.measurements]
    decodes = [decode_step(measured) for measured in report.measurements]
    ttft = [measured.summaries["ttft"].median for measured in report.measurements]
    tpot = [measured.summaries["tpot"].median for measured in report.measurements]
    rates = [f", {_number(measured.tokens_per_second)}/s" for measured in report.measurements]
    _bars(first, prefills, ttft, [""] * count, room=0.2, least=0.05)
    _bars(step, decodes, tpot, rates, room=0.75, least=0.14)
    first.set_title("time to first token", loc="left", color=INK, fontsize=12, fontweight="bold")
    step.set_title("time per output token", loc="left", color=INK, fontsize=12, fontweight="bold")
    first.set_yticks(range(count), [_name(measured) for measured in report.measurements], color=INK, fontsize=10)
    first.set_ylim(count - 0.45, -0.55)  # the first one on top
    _legend(figure, {part.group for bar in (*prefills, *decodes) for part in bar})
    figure.supxlabel(
        f"ms, medians of {report.runs} runs in turn, {report.measurements[0].samples[0].prompt_tokens} prompt tokens, "
        f"{report.workload.new_tokens} new ones; the dark mark is the median of the whole",
        color=MUTED, fontsize=9,
    )  # fmt: skip
    figure.savefig(path, dpi=160)


def first_token(measured: Measurement) -> list[Part]:
    """The groups of a measurement, the segments of the prefill each by itself."""
    parts = []
    for group in GROUPS:
        names = _parts(measured, group) or [name for name in (group,) if name in measured.rows]
        parts += _shaded(group, [measured.summaries[name].median for name in names])
    return parts


def decode_step(measured: Measurement) -> list[Part]:
    """The graphs of a decode step and the rest of it."""
    medians = {name: measured.summaries[name].median for name in _parts(measured, "decode")}
    rest = medians.pop(f"decode/{REST}")
    return [*_shaded("prefill", list(medians.values())), Part(REST, rest, 0.0)]


def _parts(measured: Measurement, group: str) -> list[str]:
    return [name for name in measured.rows if name.startswith(f"{group}/")]


def _shaded(group: str, medians: Sequence[float]) -> list[Part]:
    """Parts of a group, darker from one to the next, so that their borders are seen."""
    last = len(medians) - 1
    return [Part(group, value, 0.55 * (last - number) / max(1, last)) for number, value in enumerate(medians)]


def _bars(
    ax: Axes,
    bars: Sequence[Sequence[Part]],
    wholes: Sequence[float],
    notes: Sequence[str],
    *,
    room: float,
    least: float,
) -> None:
    """``wholes`` are marked and told, each with its note; ``room`` is that for the words, ``least`` the narrowest part
    with a number: shares of the longest bar."""
    longest = max(*wholes, *(sum(part.milliseconds for part in bar) for bar in bars))
    for place, (bar, whole, note) in enumerate(zip(bars, wholes, notes, strict=True)):
        end = _bar(ax, place, bar, least * longest)
        ax.vlines(whole, place - _BAR / 2, place + _BAR / 2, color=INK, linewidth=1.6)
        ax.annotate(
            f"{_number(whole)} ms{note}", (max(whole, end), place), (6, 0), textcoords="offset points", va="center",
            fontsize=10, fontweight="bold", color=INK,
        )  # fmt: skip
    ax.set_xlim(0, (1 + room) * longest)
    ax.grid(axis="x", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, colors=MUTED)
    ax.spines[["top", "right", "bottom", "left"]].set_visible(False)


def _bar(ax: Axes, place: float, parts: Sequence[Part], least: float) -> float:
    """Draws the parts one after the other, with a number in those of ``least`` milliseconds; returns where they end."""
    left = 0.0
    for part in parts:
        colour, width = _tint(COLOURS[part.group], part.pale), part.milliseconds
        border = 0.6 if width >= least / 2 else 0.0  # which would hide a part as narrow as itself
        ax.barh(place, width, _BAR, left=left, color=colour, edgecolor="white", linewidth=border)
        if width >= least:
            ax.text(
                left + width / 2, place, _number(width), ha="center", va="center", fontsize=8, color=_readable(colour)
            )
        left += width
    return left


def _legend(figure: Figure, groups: set[str]) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=COLOURS[group], label=LABELS.get(group, group)) for group in GROUPS if group in groups]
    figure.legend(handles=patches, loc="outside upper center", ncols=len(patches), frameon=False, fontsize=9)


def _name(measured: Measurement) -> str:
    schedule, tokens = measured.bundle.manifest.schedule, measured.samples[0].visual_tokens
    kept = f"{schedule.mean_of(tokens):.4g} of {tokens}" if schedule.prunes else f"all {tokens}"
    return f"{measured.bundle.root.name}\n{kept} visual tokens"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 30 else f"{value:.1f}" if value >= 3 else f"{value:.2f}"


def _tint(colour: str, pale: float) -> tuple[float, float, float]:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red + (1 - red) * pale, green + (1 - green) * pale, blue + (1 - blue) * pale


def _readable(colour: tuple[float, float, float]) -> str:
    """Black or white, whichever stands out."""
    red, green, blue = colour
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else INK
