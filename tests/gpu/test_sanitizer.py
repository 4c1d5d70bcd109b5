"""The kernels under compute-sanitizer, once it has found the faults that are planted for it."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from tempfile import TemporaryFile

import pytest

from tests.gpu.harness.environment import Environment, sanitizer
from tests.house import ROOT
from tests.started import own_environment

pytestmark = pytest.mark.gpu

FOUND = 86  # exit code for errors that the tool reports, unlike any of Python's
PLANTED_S, LIMIT_S = 20, 45
SECONDS = PLANTED_S + LIMIT_S
"""What one check takes at most."""


def under(tool: str, what: str, limit: int) -> tuple[int, str]:
    """The exit code of the tool, and what it said."""
    program = sanitizer()
    if program is None:
        pytest.skip("compute-sanitizer is not installed")
    command = [
        program,
        "--tool",
        tool,
        "--error-exitcode",
        str(FOUND),
        sys.executable,
        "-m",
        "tests.gpu.harness.sanitized",
    ]
    with TemporaryFile("w+") as said:  # not a pipe, which what it started would keep open beyond the limit
        try:
            code = subprocess.run(
                [*command, what],
                cwd=ROOT,
                env=own_environment(),
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=limit,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            pytest.skip(f"compute-sanitizer {tool} takes more than {limit} s for {what} here")
        said.seek(0)
        return code, said.read().strip()


@cache
def planted(tool: str, fault: str) -> tuple[int, str]:
    return under(tool, fault, PLANTED_S)


@pytest.mark.parametrize("images", ["small", "large"])
@pytest.mark.parametrize(("tool", "fault"), [("memcheck", "beyond"), ("racecheck", "race")])
def test_kernels_under(environment: Environment, tool: str, fault: str, images: str) -> None:
    code, said = planted(tool, fault)
    if code != FOUND:
        last = said.splitlines()[-1] if said else "no output"
        pytest.skip(f"compute-sanitizer {tool} does not see a planted fault here ({last})")
    code, said = under(tool, images, LIMIT_S)
    assert code == 0, said[-2000:]
