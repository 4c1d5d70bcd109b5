"""Who stands in which slot of the caches, and what a slot still knows of who was there before."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clasp_trt.runtime.caches import Caches
from clasp_trt.runtime.text.prompt import Prompt
from clasp_trt.runtime.text.visible import Sight


@dataclass(eq=False)
class Sequence:
    """One request in the decoder: how full each segment's cache is, which position comes next, on every axis, and how
    many rows of the prompt were there before. It stands in ``slot`` of the caches."""

    next_position: int
    slot: int
    filled: list[int] = field(default_factory=list)
    reused: int = 0
    sights: tuple[Sight, ...] = ()
    """What steps see of each segment's cache, where that is told."""

    def append(self, rows: int) -> None:
        """So many rows are in the caches now."""
        self.filled = [filled + rows for filled in self.filled]
        self.next_position += rows

    def forget(self, rows: int) -> None:
        """The last rows are none: what comes next is written over them."""
        self.append(-rows)


class Slots:
    """The slots of ``caches``. Sequences that are :attr:`live` stand in the first ones, in this order."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches
        self._live: list[Sequence] = []
        self._soiled = set[int]()  # where a number may be none, or a prompt may be half there
        self._known = [np.zeros(0, np.int64)] * caches.slots  # the ids of the rows that all caches of a slot begin with

    @property
    def live(self) -> Seq[Sequence]:
        """Those that steps go on with."""
        return self._live

    @property
    def free(self) -> int:
        """How many slots no sequence has."""
        return self._caches.slots - len(self._live)

    def take(self) -> int:
        """The slot of the next prompt, that of the last sequence if none is free; spoiled until :meth:`join`."""
        if not self.free:
            self._live.pop()
        slot = len(self._live)
        if slot in self._soiled:
            self._caches.clear(slot)
            self._known[slot] = self._known[slot][:0]
        self._soiled.add(slot)
        return slot

    def join(self, sequence: Sequence, text_before: NDArray[np.int64]) -> None:
        """``sequence`` is whole in the slot that was taken for it, and begins with ``text_before``, int64 ``[ids]``."""
        self._live.append(sequence)
        self._soiled.discard(sequence.slot)
        self._known[sequence.slot] = text_before

    def known(self, slot: int, prompt: Prompt) -> int:
        """How many rows of the prompt are in a slot already; its last one never is, since scores follow it."""
        known = self._known[slot]
        most = min(len(known), len(prompt.text_before), len(prompt.input_ids) - 1)
        differing = np.flatnonzero(known[:most] != prompt.input_ids[:most])
        return int(differing[0]) if len(differing) else most

    def leave(self, sequence: Sequence, *, spoiled: bool = False) -> None:
        """Gives the slot of a sequence back, if it still has one. The last sequence moves there, so that steps compute
        no row in vain: what a slot holds is copied once, where a row too many would be read in each step to come.

        What is ``spoiled`` by an overflow is emptied before the next prompt: a step may read places that the mask then
        hides, and 0 times NaN is NaN.
        """
        if sequence not in self._live:
            return
        if spoiled:
            self._soiled.add(sequence.slot)
        last = self._live.pop()
        if last is not sequence:
            self._caches.move(last.slot, sequence.slot)
            self._soiled.discard(sequence.slot)
            self._known[sequence.slot] = self._known[last.slot]
            self._live[sequence.slot], last.slot = last, sequence.slot

    def release(self) -> None:
        """Lets the caches go."""
        self._live.clear()
        self._caches.release()
