"""The house stands: package list, tree and links agree, and the papers beside the code say the same thing."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

import clasp_trt
from tests.house import FOLDERS, PACKAGE, PYPROJECT, ROOT, core_modules, modules, package_files
from tests.started import own_environment
from tests.test_docs import shell_lines

SETUPTOOLS = PYPROJECT["tool"]["setuptools"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_link_shows_the_folder_to_whoever_runs_from_the_root(folder: str) -> None:
    link = PACKAGE / folder
    assert link.is_symlink()
    assert os.readlink(link) == f"../{folder}"  # relative, so that a clone may lie anywhere
    assert (link / "__init__.py").samefile(ROOT / folder / "__init__.py")


def test_package_list_is_the_tree() -> None:
    packages = {file.rpartition("/")[0].replace("/", ".") for file in package_files() if file.endswith(".py")}
    assert set(SETUPTOOLS["packages"]) == packages, "pyproject.toml: [tool.setuptools] packages"
    assert SETUPTOOLS["packages"] == sorted(SETUPTOOLS["packages"])


def test_every_folder_with_code_says_that_it_is_a_package() -> None:
    packages = {file.rpartition("/")[0] for file in package_files() if file.endswith(".py")}
    assert {p for p in packages if not (ROOT / p / "__init__.py").is_file()} == set()


def test_mapping_is_the_three_folders() -> None:
    assert SETUPTOOLS["package-dir"] == {f"clasp_trt.{folder}": folder for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS)
def test_folder_refuses_another_name(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"],
        cwd=ROOT,
        env=own_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: this folder is the package clasp_trt.{folder}: import that, not {folder}"
    )


def test_contracts_are_by_folder() -> None:
    """A module that is new anywhere is under them at once: no list of modules is kept by hand."""
    layers, stand_alone = PYPROJECT["tool"]["importlinter"]["contracts"]
    assert layers["layers"] == ["__main__", "cli", "tools", "engines | export | runtime"]
    assert stand_alone["source_modules"] == ["clasp_trt.*"]
    assert {f"clasp_trt.{folder}" for folder in FOLDERS} < set(stand_alone["forbidden_modules"])


def test_version_is_said_once() -> None:
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert SETUPTOOLS["dynamic"]["version"] == {"attr": "clasp_trt.__version__"}
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (\S+)$", citation, re.MULTILINE) == [clasp_trt.__version__]


def test_changelog_knows_the_version() -> None:
    headings = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    newest, _ = headings[0]
    assert newest in ("Unreleased", clasp_trt.__version__)
    dated = [version for version, rest in headings if version != "Unreleased"]
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", rest) for version, rest in headings if version in dated)


def test_licence_is_apache_2() -> None:
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert re.search(r"^license: Apache-2.0$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)


def test_citation_names_the_paper() -> None:
    title = "CLASP: Class-Adaptive Layer Fusion and Dual-Stage Pruning for Multimodal Large Language Models"
    citation = (ROOT / "CITATION.cff").read_text()
    assert f'title: "{title}"' in citation
    assert 'value: "arXiv:2604.12767"' in citation


def test_public_names_are_fetched_at_first_use() -> None:
    assert clasp_trt.__all__ == ["__version__", "build", "load", "open_engine"]
    assert set(clasp_trt.__all__) <= set(dir(clasp_trt))
    assert clasp_trt.load.__module__ == "clasp_trt.runtime.pipeline"
    assert clasp_trt.build.__module__ == "clasp_trt.tools.build.compiler"
    with pytest.raises(AttributeError, match=r"module 'clasp_trt'.*'lood'"):
        _ = clasp_trt.lood


def test_module_lists_see_through_the_links() -> None:
    """The tests of imports stand on these lists: they must not be empty by mistake."""
    for folder in FOLDERS:
        assert f"clasp_trt.{folder}" in modules()
    assert {"clasp_trt", "clasp_trt.errors", "clasp_trt.ops"} <= set(core_modules())


OF_THE_REPOSITORY = {"attack", "benchmarks", "deploy", "examples", "gpu", "mutations", "parity"}
"""Folders of tests about what is no part of the package, or about the whole of it."""
OF_NO_MODULE = {"contributing", "docs", "house", "imports", "mistakes", "site", "started", "supply", "traces", "wheel"}
"""Files at the top of tests/ about the repository and about the tests' own means."""


def test_tests_mirror_the_tree() -> None:
    """Whoever changes a folder finds its tests under the same name."""
    files = [path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(files) > 100
    rooms = {file.parent for file in files if file.parts[0] not in OF_THE_REPOSITORY}
    assert [room.as_posix() for room in sorted(rooms) if not (PACKAGE / room).is_dir()] == []
    top = {file.stem.removeprefix("test_") for file in files if len(file.parts) == 1} - OF_NO_MODULE
    assert [name for name in sorted(top) if not (PACKAGE / f"{name}.py").is_file()] == []


def test_ci_runs_a_command_of_the_readme() -> None:
    """What fails there fails for whoever follows the page, by the same words."""
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    said = [line.split("#")[0].strip() for line in script]
    setting, command = (
        line for line in said[1:] if line and not line.startswith(("set ", "cd ", "unset ", ".ci/browser"))
    )
    assert setting == "export CI=true"
    assert command.startswith("exec make ")
    shown = [line.split(" #")[0].strip() for line in shell_lines((ROOT / "README.md").read_text())]
    assert command.removeprefix("exec ") in shown


def test_the_default_tests_are_those_without_a_mark() -> None:
    options = PYPROJECT["tool"]["pytest"]["ini_options"]
    marks = {mark.split(":")[0] for mark in options["markers"]}
    left_out = options["addopts"][options["addopts"].index("-m") + 1]
    assert set(left_out.removeprefix("not ").split(" and not ")) == marks
