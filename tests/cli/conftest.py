"""The command line, called as a shell calls it but within this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from clasp_trt.bundle import Bundle
from tests.house import ROOT
from tests.started import own_environment


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Clasp(Protocol):
    """Runs one command line."""

    def __call__(self, *words: str | Path) -> Done: ...


class Refused(Protocol):
    """Runs a command line that must be refused, and returns the line that says why."""

    def __call__(self, *words: str | Path) -> str: ...


@pytest.fixture
def clasp(capfd: pytest.CaptureFixture[str]) -> Clasp:
    """Whatever is written to the process's two streams counts, also by native code."""
    from clasp_trt.cli import main

    def run(*words: str | Path) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main([str(word) for word in words], "clasp-trt")
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def refused(clasp: Clasp) -> Refused:
    """Exit code 2, nothing on standard output, one line on standard error."""

    def run(*words: str | Path) -> str:
        done = clasp(*words)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("error: ")
        assert done.err.endswith("\n")
        assert done.err.count("\n") == 1
        return done.err.removeprefix("error: ").rstrip("\n")

    return run


@pytest.fixture(scope="session")
def bundle(built: Callable[..., Bundle]) -> Path:
    """A bundle for this machine."""
    return built().root


@pytest.fixture(scope="session")
def portable(built: Callable[..., Bundle]) -> Path:
    """What ``clasp-trt export`` writes."""
    return built(target=None).root


@pytest.fixture(scope="session")
def photo() -> Path:
    return ROOT / "examples" / "photos" / "coffee.jpg"


@pytest.fixture
def shell() -> dict[str, str]:
    """The environment of a subprocess: the package is found, and one thread is enough."""
    return own_environment(PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
