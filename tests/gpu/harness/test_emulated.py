"""The files of checks themselves, run where there is no GPU: an emulated device stands in for CUDA's driver.

They are what must work the first time that a GPU is at hand, so no line of them may wait until then to run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests import started
from tests.engines.kernels.emulator import compiled
from tests.house import ROOT

pytestmark = pytest.mark.full  # kernels on an emulated device

DRIVER = """
import sys
from pathlib import Path
from tests import started
from tests.engines.kernels.emulator import Emulator
from tests.gpu.harness.emulated_driver import EmulatedDriver

sys.modules[__name__] = EmulatedDriver(Emulator.load(Path({library!r})))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables under which ``cuda.bindings.driver`` is the emulated device."""
    folder = tmp_path_factory.mktemp("emulated")
    package = folder / "cuda" / "bindings"
    package.mkdir(parents=True)
    for path in (package.parent, package):
        (path / "__init__.py").touch()
    (package / "driver.py").write_text(DRIVER.format(library=str(compiled(folder))))
    return started.own_environment(PYTHONPATH=os.pathsep.join((str(folder), str(ROOT))))


@pytest.mark.parametrize(
    ("file", "chosen"),
    [
        ("test_kernels.py", "3x9 or 3x17"),
        ("test_launcher.py", "not large"),
        ("test_properties.py", "out_of_range or too_many_pivots"),
    ],
)
def test_checks_run_on_the_emulated_device(environment: dict[str, str], file: str, chosen: str) -> None:
    command = [sys.executable, "-m", "pytest", f"tests/gpu/{file}", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-k", chosen], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^[1-9]\d* passed(, \d+ deselected)? in ", done.stdout, re.MULTILINE), done.stdout


def test_what_runs_under_the_sanitizer(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "tests.gpu.harness.sanitized", "small"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("fault", ["beyond", "race"])
def test_a_planted_fault_that_the_device_refuses_is_left_to_the_tool(environment: dict[str, str], fault: str) -> None:
    """memcheck ends the context after a fault, and reports it by its own exit code if the program's is 0. Here the
    device does not know the kernel."""
    command = [sys.executable, "-m", "tests.gpu.harness.sanitized", fault]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
