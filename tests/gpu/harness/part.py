"""Runs one file of checks in this process and keeps notes: ``python -m tests.gpu.harness.part FILE NOTES SECONDS``.

Notes are written after every check, so that whatever ends the process, a crash of the device included, loses none of
what went before.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.gpu.harness.results import COMPLETE, Outcome, write
from tests.house import ROOT

_LONGEST = 300  # characters of a reason
_QUIET = "ignore::pytest.PytestAssertRewriteWarning"  # hypothesis is imported before pytest starts


class Notes:
    """A pytest plugin that fills an :class:`Outcome` and skips what the time no longer allows."""

    def __init__(self, module: str, path: Path, seconds: float) -> None:
        self.outcome = Outcome(module, ended="did not end by itself")
        self._path, self._start, self._seconds = path, time.monotonic(), seconds

    def pytest_runtest_setup(self, item: pytest.Function) -> None:
        needed = getattr(item.module, "SECONDS", 0)  # what one of its checks takes at most
        if time.monotonic() - self._start + needed > self._seconds:
            pytest.skip("the time for it was used up")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome = self.outcome
        if report.failed:
            outcome.failed.append(f"{outcome.module}, {report.location[2]}: {_reason(report)}")
        elif report.skipped:
            longrepr = report.longrepr
            reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
            reason = reason.removeprefix("Skipped: ")
            outcome.skipped[reason] = outcome.skipped.get(reason, 0) + 1
        elif report.when == "call":
            outcome.passed += 1
        if report.when == "teardown":  # once a test; the properties of its phases add up
            for name, fact in report.user_properties:
                outcome.facts.setdefault(name, []).append(fact)
        self.save()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.outcome.failed.append(f"{self.outcome.module}: {_reason(report)}")
        elif report.skipped and isinstance(report.longrepr, tuple):
            self.outcome.skipped[report.longrepr[2].removeprefix("Skipped: ")] = 1

    def pytest_sessionfinish(self) -> None:
        self.outcome.ended = COMPLETE
        self.save()

    def save(self) -> None:
        self.outcome.seconds = round(time.monotonic() - self._start, 1)
        write(self._path, json.dumps(asdict(self.outcome)))


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What went wrong, in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = report.longreprtext if crash is None else crash.message
    return " ".join(text.split())[:_LONGEST]


def main(file: str, path: str, seconds: str) -> int:
    derandomize()
    notes = Notes(Path(file).stem, Path(path), float(seconds))
    options = (
        "-c",
        str(ROOT / "pyproject.toml"),
        "-m",
        "gpu",
        "-p",
        "no:cacheprovider",
        "--no-header",
        "-q",
        "-W",
        _QUIET,
    )
    return int(pytest.main([file, *options], plugins=[notes]))


def derandomize() -> None:
    """Property tests draw the same cases each time, and a failure is reported as it was found."""
    try:
        import hypothesis
    except ImportError:
        return
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("gpu", derandomize=True, phases=phases, database=None)
    hypothesis.settings.load_profile("gpu")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
