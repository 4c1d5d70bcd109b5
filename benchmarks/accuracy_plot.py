"""The plot of the accuracy page: one panel for each place to prune, one line a method, labelled where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLACES = {"decoder": "three stages in the decoder", "encoder": "one stage before the decoder"}


class Look(NamedTuple):
    """How a method is drawn. Colours are those of Okabe and Ito, which colour-blind readers can tell apart."""

    colour: str
    marker: str


LOOKS = {
    "clasp": Look("#D55E00", "o"),
    "clasp-fixed": Look("#E69F00", "o"),
    "sparsevlm": Look("#0072B2", "s"),
    "cdpruner": Look("#009E73", "s"),
    "pyramiddrop": Look("#0072B2", "v"),
    "visionzip": Look("#56B4E9", "D"),
    "dart": Look("#CC79A7", "^"),
    "divprune": Look("#009E73", "v"),
    "vispruner": Look("#F0E442", "D"),
    "fastervlm": Look("#56B4E9", "P"),
    "fastv": Look("#000000", "P"),
    "uniform": Look("#666666", "X"),
    "random": Look("#999999", "X"),
}
INK, GRID = "#222222", "#E6E6E6"
LABEL_GAP = 0.047  # of the height of a panel: a line of text
DODGE = 0.012  # of the width, so that error bars stand side by side


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Places at least ``gap`` apart, in the order of ``wanted`` and as near to it as their groups allow."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    groups: list[tuple[float, int]] = []  # centre and size of labels that touch
    for i in order:
        centre, size = wanted[i], 1
        while groups and centre - groups[-1][0] < gap * (size + groups[-1][1]) / 2:
            below, count = groups.pop()
            centre, size = (below * count + centre * size) / (count + size), count + size
        groups.append((centre, size))
    places = [centre + gap * (k - (size - 1) / 2) for centre, size in groups for k in range(size)]
    result = [0.0] * len(wanted)
    for i, place in zip(order, places, strict=True):
        result[i] = place
    return result


def save_plot(path: Path, found: dict[str, Any]) -> None:
    """Writes the plot as PNG on white."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = {place: [s for s in found["settings"] if s["place"] == place] for place in PLACES}
    figure = Figure(figsize=(11.5, 5.6), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), sharey=True)
    low, high = _range(found)
    for ax, (place, settings) in zip(axes, panels.items(), strict=True):
        ax.set_ylim(low, high)
        _panel(ax, place, settings, found["unpruned"])
    axes[0].set_ylabel("right answers, %", color=INK)
    figure.savefig(path, dpi=160, metadata={"Software": None})


def _range(found: dict[str, Any]) -> tuple[float, float]:
    shares = [method for setting in found["settings"] for method in setting["methods"].values()]
    ends = [100 * end for share in (found["unpruned"], *shares) for end in share["interval"]]
    margin = 0.06 * (max(ends) - min(ends))
    return max(0.0, min(ends) - margin), min(100.0, max(ends) + margin)


def _panel(ax: Axes, place: str, settings: list[dict[str, Any]], unpruned: dict[str, Any]) -> None:
    tokens = unpruned["tokens"]
    settings = sorted(settings, key=lambda setting: -setting["mean_visual_tokens"])
    x = [setting["mean_visual_tokens"] for setting in settings]
    left, right = max(x) + 0.2 * (max(x) - min(x) or max(x)), min(x) - 0.42 * (max(x) - min(x) or max(x))
    ax.set_xlim(left, right)  # fewer tokens to the right: the harder, the farther
    _style(ax, place, x, tokens)
    _baseline(ax, unpruned)
    names = [name for name in reversed(LOOKS) if all(name in setting["methods"] for setting in settings)]
    middle, step = (len(names) - 1) / 2, DODGE * (right - left)
    for number, name in enumerate(names):
        aside = [at + (number - middle) * step for at in x]
        _line(ax, name, aside, [setting["methods"][name] for setting in settings])
    bottom, top = ax.get_ylim()
    ends = [100 * settings[-1]["methods"][name]["accuracy"] for name in names]
    edge = min(x) + (middle + 2) * step
    for number, (value, label) in enumerate(zip(ends, spread(ends, LABEL_GAP * (top - bottom)), strict=True)):
        _label(ax, names[number], (min(x) + (number - middle) * step, value), (edge, label))


def _label(ax: Axes, name: str, point: tuple[float, float], place: tuple[float, float]) -> None:
    """The name of a line, with a thin leader to its last point."""
    colour = LOOKS[name].colour
    ax.annotate(
        name, point, place, va="center", fontsize=10, color=colour, fontweight="bold" if name == "clasp" else None,
        arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "alpha": 0.7, "shrinkA": 1, "shrinkB": 4},
    )  # fmt: skip


def _line(ax: Axes, name: str, x: list[float], shares: list[dict[str, Any]]) -> None:
    """One method: lines between its shares, with their intervals."""
    ours, look = name == "clasp", LOOKS[name]
    values = [100 * share["accuracy"] for share in shares]
    below = [value - 100 * share["interval"][0] for value, share in zip(values, shares, strict=True)]
    above = [100 * share["interval"][1] - value for value, share in zip(values, shares, strict=True)]
    ax.errorbar(
        x, values, yerr=[below, above], color=look.colour, marker=look.marker, markersize=8 if ours else 5,
        linewidth=2.8 if ours else 1.3, elinewidth=1.6 if ours else 0.8, capsize=0,
        markeredgecolor="white", markeredgewidth=0.7, zorder=5 if ours else 3,
    )  # fmt: skip


def _baseline(ax: Axes, unpruned: dict[str, Any]) -> None:
    low, high = (100 * end for end in unpruned["interval"])
    value = 100 * unpruned["accuracy"]
    ax.axhspan(low, high, color="#EFEFEF", zorder=0)
    ax.axhline(value, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    left = ax.get_xlim()[0]
    note = f" unpruned, {unpruned['tokens']} tokens: {value:.1f} %"
    ax.annotate(note, (left, value), xytext=(2, 4), textcoords="offset points", fontsize=9, color=INK, va="bottom")


def _style(ax: Axes, place: str, x: list[float], tokens: int) -> None:
    ax.set_title(PLACES[place], loc="left", fontsize=12, color=INK)
    ax.set_xticks(x, [f"{at:.0f}\n{100 * at / tokens:.0f} %" for at in x])
    ax.set_xlabel(f"mean visual tokens over the decoder's layers, of {tokens}", color=INK)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(length=0, colors=INK)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color("#BBBBBB")
