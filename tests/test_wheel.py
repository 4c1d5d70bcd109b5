"""What is installed: wheel and source distribution, away from the root, with only what they ask for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest

import clasp_trt
from tests.house import FOLDERS, ROOT, core_modules, modules, package_files
from tests.started import own_environment

# Files at the root that packaging reads: the tree is copied, as what earlier builds left would leak in.
PAPERS = (
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
)

pytestmark = pytest.mark.full


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env=own_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source distribution, the wheel built from it, and the wheel built from the tree."""
    tree = tmp_path_factory.mktemp("tree")
    for folder in ("clasp_trt", *FOLDERS):
        shutil.copytree(ROOT / folder, tree / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for paper in (*PAPERS, "constraints.txt"):
        shutil.copy(ROOT / paper, tree / paper)
    build = (sys.executable, "-m", "build", "--no-isolation")
    run(*build, "--outdir", tree / "from-sdist", cwd=tree)
    run(*build, "--wheel", "--outdir", tree / "from-tree", cwd=tree)
    (sdist,) = (tree / "from-sdist").glob("*.tar.gz")
    (from_sdist,) = (tree / "from-sdist").glob("*.whl")
    (from_tree,) = (tree / "from-tree").glob("*.whl")
    return {"sdist": sdist, "from sdist": from_sdist, "from tree": from_tree}


def required(distribution: str, python_names: set[str]) -> None:
    """Adds ``distribution`` and everything it requires, extras aside, to ``python_names``."""
    name = re.sub(r"[-_.]+", "-", distribution).lower()
    if name in python_names:
        return
    try:
        requirements = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return  # its marker leaves it out on this platform
    python_names.add(name)
    for requirement in requirements:
        if "extra ==" not in requirement:
            required(re.match(r"[\w.-]+", requirement).group(), python_names)


@pytest.fixture(scope="module")
def bare(distributions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel and its runtime requirements, and nothing else.

    The requirements are links to the packages of the running environment, so nothing is downloaded.
    """
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip())
    install = ("install", "--no-deps", "--no-index", "--no-compile", distributions["from sdist"])
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, *install, cwd=home)

    (installed,) = metadata.distributions(name="clasp-trt", path=[str(site)])
    names: set[str] = set()
    for requirement in installed.requires or []:
        if "extra ==" not in requirement:
            required(re.match(r"[\w.-]+", requirement).group(), names)
    for name in names:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))))
    return python


@pytest.mark.full
def test_wheel_holds_the_package_and_nothing_else(distributions: dict[str, Path]) -> None:
    names = set(contents(distributions["from tree"]))
    assert {name for name in names if ".dist-info/" not in name} == package_files()
    assert "clasp_trt/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.full
def test_wheel_from_the_source_distribution_is_the_same(distributions: dict[str, Path]) -> None:
    from_sdist, from_tree = (contents(distributions[f"from {source}"]) for source in ("sdist", "tree"))
    record = f"clasp_trt-{clasp_trt.__version__}.dist-info/RECORD"
    assert sorted(from_sdist.pop(record).splitlines()) == sorted(from_tree.pop(record).splitlines())
    assert from_sdist == from_tree


def test_metadata(distributions: dict[str, Path]) -> None:
    wheel = contents(distributions["from tree"])
    info = f"clasp_trt-{clasp_trt.__version__}.dist-info"
    fields = Parser().parsestr(wheel[f"{info}/METADATA"].decode())
    assert fields["Name"] == "clasp-trt"
    assert fields["Version"] == clasp_trt.__version__
    assert fields["License-Expression"] == "Apache-2.0"
    assert set(re.split(", ?", fields["Requires-Python"])) == {">=3.10", "<3.14"}
    extras = {
        "build",
        "dev",
        "docs",
        "export",
        "grammar",
        "kernels",
        "profile",
        "ray",
        "serve",
        "tensorrt",
        "tensorrt-rtx",
        "video",
    }
    assert set(fields.get_all("Provides-Extra")) == extras
    plain = {re.match(r"[\w.-]+", r).group() for r in fields.get_all("Requires-Dist") if "extra ==" not in r}
    assert plain == {"click", "jinja2", "numpy", "onnxruntime", "pillow", "tokenizers"}
    assert b"clasp-trt = clasp_trt.cli:main" in wheel[f"{info}/entry_points.txt"]


def test_bare_environment_is_bare(bare: Path, tmp_path: Path) -> None:
    absent = ("onnx", "pytest", "torch", "transformers")
    code = f"from importlib.util import find_spec; print([n for n in {absent} if find_spec(n)])"
    assert run(bare, "-I", "-c", code, cwd=tmp_path) == "[]\n"


def test_core_and_runtime_import_in_a_bare_environment(bare: Path, tmp_path: Path) -> None:
    served = modules(below="clasp_trt.runtime.serving")  # by an extra of its own
    runtime = [name for name in modules(below="clasp_trt.runtime") if name not in served]
    names = [*core_modules(), *runtime, *modules(below="clasp_trt.cli")]
    code = f"import importlib as i, clasp_trt; [i.import_module(n) for n in {names}]; print(clasp_trt.__file__)"
    where = run(bare, "-I", "-c", code, cwd=tmp_path).strip()
    assert Path(where).is_relative_to(bare.parents[1])


def test_command_runs_in_a_bare_environment(bare: Path, tmp_path: Path) -> None:
    assert run(bare.with_name("clasp-trt"), "--help", cwd=tmp_path).startswith("Usage: clasp-trt")
    assert clasp_trt.__version__ in run(bare, "-I", "-m", "clasp_trt", "--version", cwd=tmp_path)
