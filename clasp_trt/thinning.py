"""Patches that a vision tower drops between two of its blocks, so that the blocks after these compute fewer rows.

Where every patch is a visual token, those that go are visual tokens that nothing after them sees: the stages of a
:class:`clasp_trt.schedule.Schedule` stand behind, and choose among what is left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from clasp_trt import budgets
from clasp_trt.brief import brief
from clasp_trt.budgets import Budget, Published
from clasp_trt.errors import ScheduleError
from clasp_trt.storage.fields import Field

OPTION = "--prune-tower"
_ASKED = re.compile(r"([0-9]{1,4}):(.+)")
_EXPECTED = "expected a block of the tower and what stays after it, such as 6:50%, 6:1/2 or 6:288"
_MOST = 2**31 - 1


@dataclass(frozen=True)
class Thinning:
    """After ``after_block`` blocks of the tower (the first is 1) ``keep`` of the ``of`` patches of each picture stay:
    those that [CLS] attends to most in that block or, in a tower without one, that all patches do. Raises
    :class:`ScheduleError` unless some stay and some go."""

    after_block: int
    keep: int
    of: int

    def __post_init__(self) -> None:
        if self.after_block < 1:
            raise ScheduleError(f"{OPTION}: {self.after_block} is no block; {_EXPECTED}")
        if not 1 <= self.keep < self.of:
            raise ScheduleError(
                f"{OPTION} keeps {self.keep} of the {self.of} visual tokens of a picture; expected 1 to {self.of - 1}"
            )

    def entering(self, tokens: int) -> int:
        """How many of ``tokens`` visual tokens, those of whole pictures, stay."""
        return tokens // self.of * self.keep

    def to_json(self) -> dict[str, object]:
        """The JSON object that :meth:`read` reads back."""
        return {"after_block": self.after_block, "keep": self.keep, "of": self.of}

    @classmethod
    def read(cls, item: Field) -> Thinning:
        """That of a field of some file. Raises that file's error, or :class:`ScheduleError`."""
        of = item.record("after_block", "keep", "of")
        return cls(*(of[name].integer(1, _MOST) for name in ("after_block", "keep", "of")))


@dataclass(frozen=True)
class AskedThinning:
    """What was asked for, of any model: ``stays`` is a count of the patches of a picture, or a share of them."""

    after_block: int
    stays: int | Fraction

    @classmethod
    def parse(cls, text: object) -> AskedThinning:
        """What ``text`` says, such as ``6:50%``, ``6:1/2`` or ``6:288``. Raises :class:`ScheduleError`."""
        found = _ASKED.fullmatch(text.strip()) if isinstance(text, str) else None
        if found is None:
            raise ScheduleError(f"{OPTION} is {brief(text)}; {_EXPECTED}")
        try:
            stays: Budget = budgets.parse(found[2])
        except ScheduleError:
            raise ScheduleError(f"{OPTION} is {brief(text)}; {_EXPECTED}") from None
        if isinstance(stays, Published) or not int(found[1]):
            raise ScheduleError(f"{OPTION} is {brief(text)}; {_EXPECTED}")
        return cls(int(found[1]), stays)

    def of(self, patches: int, blocks: int) -> Thinning:
        """The same of pictures of ``patches`` patches, in a tower of which ``blocks`` blocks are read. Raises
        :class:`ScheduleError` where nothing would be gained."""
        if not self.after_block < blocks:
            raise ScheduleError(
                f"{OPTION} stands after block {self.after_block}, but {blocks} blocks of this tower are read, and one "
                f"must follow to gain from it; expected a block from 1 to {blocks - 1}"
            )
        return Thinning(self.after_block, budgets.mean(self.stays, patches), patches)
