"""Medians of what was measured, as rows, as text, and against the goals."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.peers.lineup import LLAVA, TRANSFORMERS, Entrant
from benchmarks.peers.rounds import Taken

Figure = Literal["ttft_ms", "tpot_ms", "peak_rss_mb"]


@dataclass(frozen=True)
class Row:
    """One entrant: medians of times over its answers (of TPOT over all their tokens), and the greatest peak memory."""

    name: str
    peer: str
    shape: str
    part: str
    threads: int
    ttft_ms: float
    tpot_ms: float
    peak_rss_mb: float
    load_s: float
    prompt_tokens: int
    rounds: int


def rows(taken: Sequence[Taken]) -> list[Row]:
    """A row for each entrant that was not left out and has answered."""
    return [_row(each, each.entrant) for each in taken if each.left_out is None and each.samples]


def _row(each: Taken, entrant: Entrant) -> Row:
    return Row(
        name=entrant.name,
        peer=entrant.model.peer,
        shape=entrant.model.shape,
        part=entrant.part,
        threads=each.threads,
        ttft_ms=statistics.median(s.ttft_ms for s in each.samples),
        tpot_ms=statistics.median(gap for s in each.samples for gap in s.tpot_ms),
        peak_rss_mb=max(s.peak_rss_mb for s in each.samples),
        load_s=statistics.median(each.load_s),
        prompt_tokens=each.samples[0].prompt_tokens,
        rounds=len(each.samples),
    )


def left_out(taken: Sequence[Taken]) -> dict[str, str]:
    """The reason by the name of each entrant that is left out."""
    return {each.entrant.name: each.left_out for each in taken if each.left_out is not None}


def text(found: Sequence[Row], without: dict[str, str]) -> str:
    """The table in Markdown, with ratios against the fastest transformers on the same shape; then who is left out."""
    lines = [
        "| | TTFT | against transformers | TPOT | against transformers | peak memory | threads | prompt |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    baseline = [row for row in found if row.peer == TRANSFORMERS]
    for row in found:
        own = baseline if row.shape == LLAVA else []
        cells = [
            f"{row.name} ({row.part})" if row.part else row.name,
            f"{row.ttft_ms:.0f} ms",
            "-" if row.part else _against(row.ttft_ms, [each.ttft_ms for each in own]),
            f"{row.tpot_ms:.0f} ms",
            _against(row.tpot_ms, [each.tpot_ms for each in own]),
            f"{row.peak_rss_mb / 1e3:.2f} GB",
            str(row.threads),
            str(row.prompt_tokens),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [f"\nLeft out: {name}: {reason}" for name, reason in without.items()]
    return "\n".join(lines)


def _against(value: float, others: Sequence[float]) -> str:
    return f"{value / min(others):.2f}" if others else "-"
