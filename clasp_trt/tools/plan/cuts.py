"""The decoder as a bundle cuts it: runs of layers that see the same visual tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clasp_trt.build_memory import Run
from clasp_trt.schedule import Schedule


@dataclass(frozen=True)
class Cut:
    """Decoder layers ``first`` to ``last`` (inclusive), which run ``visual`` of the image's visual tokens.

    ``watched``: a prune follows, so that the last layer also gives the saliency.
    """

    name: str
    first: int
    last: int
    visual: int
    watched: bool

    @property
    def layers(self) -> int:
        return self.last - self.first + 1


def cuts_of(schedule: Schedule, runs: Sequence[Run] | None = None) -> tuple[Cut, ...]:
    """The segments of a schedule; ``runs`` are its runs of layers, or finer ones."""
    cuts = []
    for number, (first, last) in enumerate(schedule.segments() if runs is None else runs):
        kept = [stage.keep for stage in schedule.stages if stage.after_layer < first]
        watched = last in schedule.prune_layers
        cuts.append(Cut(f"segment_{number}", first, last, min(kept, default=schedule.tokens), watched))
    return tuple(cuts)


def unpruned(cuts: tuple[Cut, ...], tokens: int) -> tuple[Cut, ...]:
    """The same layers with all ``tokens`` visual tokens and no prune: the baseline, row for row."""
    return tuple(Cut(cut.name, cut.first, cut.last, tokens, watched=False) for cut in cuts)
