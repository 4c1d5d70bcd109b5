"""The three figures of each row as bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.lineup import OURS
from benchmarks.peers.table import Figure, Row

_PANELS: tuple[tuple[Figure, str], ...] = (
    ("ttft_ms", "time to first token, ms"),
    ("tpot_ms", "time per token, ms"),
    ("peak_rss_mb", "peak memory, MB"),
)


def plot(found: Sequence[Row], path: Path) -> None:
    """Writes the bars to ``path``; ours are in another colour. Needs matplotlib."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(14, 1 + 0.32 * len(found)), layout="constrained")
    panels = canvas.subplots(1, len(_PANELS), sharey=True, squeeze=False)[0]
    colours = ["tab:orange" if row.peer == OURS else "tab:gray" for row in found]
    for panel, (figure, title) in zip(panels, _PANELS, strict=True):
        panel.barh([row.name for row in found], [getattr(row, figure) for row in found], color=colours)
        panel.set_title(title)
    panels[0].invert_yaxis()
    canvas.savefig(path, dpi=120)
