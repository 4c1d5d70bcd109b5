"""The lines of Polygraphy's own command line that the document shows, on a real bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

pytest.importorskip("polygraphy")

from clasp_trt.bundle import Bundle
from tests.house import ROOT
from tests.started import own_environment
from tests.test_docs import shell_lines

LINES = [line for line in shell_lines((ROOT / "docs" / "verify.md").read_text()) if line.startswith("polygraphy ")]


def call(line: str, bundle: Bundle, folder: Path, changes: Mapping[str, str]) -> None:
    words = [word.replace("BUNDLE", str(bundle.root)) for word in line.split()[1:]]
    command = [sys.executable, "-c", "from polygraphy.tools import main; main()", *words]
    done = subprocess.run(
        command, cwd=folder, env=own_environment(**changes), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.full
def test_shown_lines_run(built: Callable[..., Bundle], tmp_path: Path) -> None:
    lines = [line for line in LINES if not {"trt", "--input-shapes"} & {*line.split()}]
    assert len(lines) == 6
    for line in lines:  # in order, for one reads what another wrote
        call(line, built(), tmp_path, {})


@pytest.mark.full
def test_shown_lines_for_pictures_that_differ_run(varying: Bundle, tmp_path: Path) -> None:
    lines = [line for line in LINES if "--input-shapes" in line]
    assert len(lines) == 2
    for line in lines:
        for shown, tiny in (("3584", "48"), ("1280", "32"), (",3,", ",2,")):
            line = line.replace(shown, tiny)
        call(line, varying, tmp_path, {})


@pytest.mark.trt
def test_shown_conversion_makes_an_engine(built: Callable[..., Bundle], tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    # the umbrella package, which only adds this name, is not on the package index
    module = tmp_path / "modules" / "tensorrt_rtx"
    module.mkdir(parents=True)
    (module / "__init__.py").write_text(
        "from tensorrt_rtx_bindings import *\nfrom tensorrt_rtx_bindings import __version__\n"
    )
    path = os.pathsep.join([str(module.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    (line,) = [line for line in LINES if "trt" in line.split()]
    call(line, built(target=None), tmp_path, {"PYTHONPATH": path, "POLYGRAPHY_USE_TENSORRT_RTX": "1"})
    assert (tmp_path / "gram.engine").stat().st_size > 10_000
