"""Budgets as people write them: a count of visual tokens, a share of them, or one of the paper's by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import TypeAlias

from clasp_trt.brief import brief
from clasp_trt.errors import ScheduleError
from clasp_trt.published import PUBLISHED_TOKENS

PAPER: Mapping[str, int] = MappingProxyType({"192": 192, "128": 128, "64": 64, "320": 64})
"""The paper's budgets by the name that its tables give them, as what :data:`~clasp_trt.published.PUBLISHED_KEEPS` calls
their stages: 192, 128 and 64 of the 576 tokens of LLaVA-1.5, and 320 of the 2,880 of LLaVA-NeXT, the share of 64."""

_COUNT, _SHARE = re.compile(r"[0-9]{1,10}"), re.compile(r"([0-9]{1,10})/([0-9]{1,10})")
_PERCENTAGE = re.compile(r"([0-9]{1,10}(?:\.[0-9]{1,10})?)%")
_NAMED = "paper:"
_EXPECTED = "expected a count such as 64, a share such as 1/9 or 11.1%, or one of " + ", ".join(
    f"{_NAMED}{name}" for name in PAPER
)


@dataclass(frozen=True)
class Published:
    """The stages of the published budget ``keeps``, as the same fractions of however many visual tokens."""

    keeps: int

    @property
    def share(self) -> Fraction:
        """What the budget is called, over the tokens that it was published for."""
        return Fraction(self.keeps, PUBLISHED_TOKENS)


Budget: TypeAlias = int | Fraction | Published
"""A mean over decoder layers as a count or as a share of the visual tokens, or the paper's stages."""


def parse(budget: object) -> Budget:
    """What ``budget`` says: an integer, a fraction between 0 and 1, or a text of one of the forms ``64``, ``1/9``,
    ``11.1%`` and ``paper:64``. Raises :class:`ScheduleError` for anything else."""
    if isinstance(budget, (Fraction, Published)) or type(budget) is int:
        return _within(budget, str(budget))
    if not isinstance(budget, str):
        raise ScheduleError(f"budget: {brief(budget)} is none; {_EXPECTED}")
    text = budget.strip()
    if _COUNT.fullmatch(text):
        return int(text)
    if (share := _SHARE.fullmatch(text)) and int(share[2]):
        return _within(Fraction(int(share[1]), int(share[2])), text)
    if percentage := _PERCENTAGE.fullmatch(text):
        return _within(Fraction(percentage[1]) / 100, text)
    if text.startswith(_NAMED) and text.removeprefix(_NAMED) in PAPER:
        return Published(PAPER[text.removeprefix(_NAMED)])
    raise ScheduleError(f"budget: {brief(budget)} is none; {_EXPECTED}")


def mean(budget: Budget, tokens: int) -> int:
    """The mean that ``budget`` means with ``tokens`` visual tokens: shares are rounded, halves up, to 1 at least."""
    if isinstance(budget, int):
        return budget
    share = budget.share if isinstance(budget, Published) else budget
    return max(1, int(share * tokens + Fraction(1, 2)))


def _within(budget: Budget, text: str) -> Budget:
    if isinstance(budget, Fraction) and not 0 < budget < 1:
        raise ScheduleError(
            f"budget: {text} is no share of the visual tokens between none and all of them; to keep every token use "
            "--prune-at none"
        )
    return budget
