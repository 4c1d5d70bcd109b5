"""The documents as a site: every page has its place and every link leads somewhere, without a network."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.house import ROOT
from tests.started import own_environment

FROM_ELSEWHERE = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(?:https?:)?//[^>]*>")


def hook(name: str) -> ModuleType:
    """A file of ``docs/_site``, which the site's builder imports by its path."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "_site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def repository() -> ModuleType:
    pytest.importorskip("mkdocs")
    return hook("repository")


@pytest.mark.parametrize(
    ("page", "link", "turned"),
    [
        ("README.md", "docs/cli.md#eval", "cli.md#eval"),
        ("README.md", "LICENSE", "repository/LICENSE"),
        ("docs/cli.md", "../README.md#speed", "index.md#speed"),
        ("docs/cli.md", "policy.md", "policy.md"),
        ("docs/cli.md", "images/demo.png", "images/demo.png"),
        ("docs/cli.md", "../examples/README.md", "repository/examples/README.md"),
        ("CONTRIBUTING.md", "docs/methods.md", "../methods.md"),
        ("examples/README.md", "../docs/pretrained.md", "../../pretrained.md"),
        ("examples/README.md", "00_build.py", "00_build.py"),
        ("docs/cli.md", "#eval", "#eval"),
        ("docs/cli.md", "https://arxiv.org/abs/1", "https://arxiv.org/abs/1"),
    ],
)
def test_links_are_turned(repository: ModuleType, page: str, link: str, turned: str) -> None:
    assert repository.turned(f"see [it]({link}), `[x]({link})`", page) == f"see [it]({turned}), `[x]({link})`"
    block = f"```bash\n[x]({link})\n```"
    assert repository.turned(block, page) == block


@pytest.mark.parametrize("path", ["README.md", "docs/cli.md", "examples/photos/README.md", "LICENSE"])
def test_addresses_lead_back(repository: ModuleType, path: str) -> None:
    assert repository.place(repository.address(path)) == path


def test_what_pages_link_to_comes_along_in_turn(repository: ModuleType) -> None:
    """examples/README.md is linked from the front page, and only it links to the photographs."""
    assert {"README.md", "CHANGELOG.md", "LICENSE", "examples/README.md", "examples/photos/README.md"} <= set(
        repository.brought()
    )


def test_docstrings_lose_their_roles() -> None:
    pytest.importorskip("griffe")
    text = "Raises :class:`~clasp_trt.errors.PromptError` of :mod:`a.b` as ``x: y``."
    assert hook("roles").plain(text) == "Raises `PromptError` of `a.b` as ``x: y``."


@pytest.mark.full
def test_the_site_is_built_without_a_warning_and_needs_nobody_else(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        line, cwd=ROOT, env=own_environment(NO_MKDOCS_2_WARNING="1"), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    pages = {each.relative_to(tmp_path / "site").as_posix(): each.read_text() for each in tmp_path.rglob("*.html")}
    assert {"index.html", "cli.html", "api.html", "repository/CONTRIBUTING.html"} <= set(pages)
    assert "Answers requests of any threads" in pages["api.html"]
    assert [name for name, text in pages.items() if FROM_ELSEWHERE.search(text)] == []


def test_every_page_has_its_place() -> None:
    """Quicker than building the site, which would say so too."""
    named = re.findall(r"^ +- [^\n]*: ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert len(named) == len(set(named))
    pages = {each.name for each in (ROOT / "docs").glob("*.md")}
    assert pages - set(named) == set(), "name it in mkdocs.yml"
