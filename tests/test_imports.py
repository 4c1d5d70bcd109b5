"""Imports are light: the core, the runtime and the command line's help load none of the heavy packages."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.house import HEAVY, ROOT, core_modules, modules

# Third-party packages that a runtime module may import at its top, and one that only its own module may.
RUNTIME_MAY_IMPORT = frozenset({"PIL", "clasp_trt", "jinja2", "numpy", "tokenizers"})
ONNXRUNTIME_HOME = "clasp_trt.runtime.backends.ort"

# Runs in a fresh interpreter: executes each labelled step and notes which watched packages it has loaded.
PROBE = """
import json, sys
steps, watched = json.loads(sys.stdin.read())
loaded = {}
for label, code in steps:
    exec(code, {})
    for name in set(watched) & {module.partition(".")[0] for module in sys.modules} - set(loaded):
        loaded[name] = label
print(json.dumps(loaded))
"""

HELP = """
from click.testing import CliRunner
from tests.commands import GROUP
result = CliRunner().invoke(GROUP, {arguments!r}, prog_name="clasp-trt")
assert result.exit_code == 0, result.output
assert result.output.startswith("Usage: clasp-trt"), result.output
"""


def first_loaded_by(steps: list[tuple[str, str]], watched: frozenset[str]) -> dict[str, str]:
    """Which of ``watched`` a fresh interpreter loads during ``steps`` (label, code), and at which step."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=json.dumps([steps, sorted(watched)]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return loaded


def importing(names: list[str]) -> list[tuple[str, str]]:
    return [(name, f"import {name}") for name in names]


def test_probe_sees_what_is_loaded() -> None:
    steps = [("one", "import sys"), ("two", "import xml.dom.minidom"), ("three", "import xml.sax")]
    assert first_loaded_by(steps, frozenset({"xml", "wave"})) == {"xml": "two"}


def test_package_alone_loads_nothing_at_all() -> None:
    others = HEAVY | {"PIL", "click", "jinja2", "numpy", "onnxruntime", "tokenizers"}
    assert first_loaded_by(importing(["clasp_trt"]), others) == {}


def test_core_is_light() -> None:
    assert first_loaded_by(importing(core_modules()), HEAVY | {"onnxruntime", "tokenizers", "click"}) == {}


def test_runtime_is_light() -> None:
    assert first_loaded_by(importing(modules(below="clasp_trt.runtime")), HEAVY) == {}


def test_help_of_every_command_is_light() -> None:
    from tests.commands import command_names

    names = command_names()
    assert {"build", "export", "run", "inspect", "route", "targets", "doctor"} <= set(names)
    steps = [(" ".join(line), HELP.format(arguments=line)) for line in [["--help"], *([n, "--help"] for n in names)]]
    assert first_loaded_by(steps, HEAVY | {"onnxruntime"}) == {}


def top_level_imports(name: str) -> Iterator[str]:
    """Packages that a module imports when loaded, read from its text (``if TYPE_CHECKING`` left out)."""
    path = ROOT.joinpath(*name.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    waiting: list[ast.AST] = list(ast.parse(file.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


@pytest.mark.parametrize("name", modules(below="clasp_trt.runtime"))
def test_runtime_imports_are_on_the_list(name: str) -> None:
    allowed = RUNTIME_MAY_IMPORT | ({"onnxruntime"} if name == ONNXRUNTIME_HOME else set())
    assert set(top_level_imports(name)) - sys.stdlib_module_names <= allowed
