"""The kernels under compute-sanitizer, once it has found the faults that are planted for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.gpu.harness.environment import Environment, sanitizer
from tests.house import ROOT

pytestmark = pytest.mark.gpu

FOUND = 86  # exit code for errors that the tool reports, unlike any of Python's
LIMIT_S = 60


def under(tool: str, what: str) -> subprocess.CompletedProcess[str]:
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
    return subprocess.run([*command, what], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@pytest.mark.parametrize("images", ["small", "large"])
@pytest.mark.parametrize(("tool", "fault"), [("memcheck", "beyond"), ("racecheck", "race")])
def test_kernels_under(environment: Environment, tool: str, fault: str, images: str) -> None:
    planted = under(tool, fault)
    if planted.returncode != FOUND:
        words = (planted.stdout + planted.stderr).strip().splitlines()
        pytest.skip(
            f"compute-sanitizer {tool} does not see a planted fault here ({words[-1] if words else 'no output'})"
        )
    done = under(tool, images)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
