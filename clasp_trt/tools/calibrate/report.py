"""What a calibration found, per category."""

from __future__ import annotations

from dataclasses import dataclass

from clasp_trt.policy import Policy
from clasp_trt.tools.evaluate.statistics import Paired, Share


@dataclass(frozen=True)
class Searched:
    """The search of one category, and the check of what won it.

    ``before`` is the row that the bundle has and ``best`` the winner, in words, the same where nothing is better.
    Shares are of the questions searched on and of those held out; ``gain`` compares the two rows on the latter.
    """

    candidates: int
    rejected: int
    before: str
    best: str
    search_before: Share
    search_best: Share
    held_out_before: Share
    held_out_best: Share
    gain: Paired


@dataclass(frozen=True)
class Line:
    """One category: its questions in each part, what was found (None with too few), and why its row is ``kept`` as it
    was (None where it is not)."""

    category: str
    questions: int
    held_out: int
    searched: Searched | None
    kept: str | None

    def to_json(self) -> dict[str, object]:
        """A JSON object; intervals are of 95 %."""
        line: dict[str, object] = {
            "category": self.category,
            "questions": self.questions,
            "held_out": self.held_out,
            "kept": self.kept,
        }
        if (found := self.searched) is not None:
            line |= {
                "candidates": found.candidates,
                "rejected": found.rejected,
                "before": {"row": found.before, **_shares(found.search_before, found.held_out_before)},
                "best": {"row": found.best, **_shares(found.search_best, found.held_out_best)},
                "gain": found.gain.difference,
                "gain_interval": found.gain.difference_interval,
            }
        return line


@dataclass(frozen=True)
class Report:
    """The calibrated policy, and a line for each of its categories in their order."""

    policy: Policy
    lines: tuple[Line, ...]

    def to_json(self) -> dict[str, object]:
        """A JSON object: the policy's provenance and the lines."""
        return {"provenance": dict(self.policy.provenance), "categories": [line.to_json() for line in self.lines]}


def held_out(lines: tuple[Line, ...]) -> tuple[Share, Share]:
    """Shares of all held-out questions of the categories that were searched, at least one: with the rows as they were
    before, and with those chosen."""
    found = [(line.searched, line.kept) for line in lines if line.searched is not None]
    total = sum(each.held_out_before.total for each, _ in found)
    before = sum(each.held_out_before.right for each, _ in found)
    after = sum((each.held_out_before if kept else each.held_out_best).right for each, kept in found)
    return Share(before, total), Share(after, total)


def _shares(search: Share, held_out: Share) -> dict[str, object]:
    return {
        "search": search.value,
        "search_interval": search.interval,
        "held_out": held_out.value,
        "held_out_interval": held_out.interval,
    }
