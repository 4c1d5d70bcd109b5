"""Imports are light: the core, the runtime and the command line's help load none of the heavy packages."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from clasp_trt.cli.router import COMMANDS as ROUTER_COMMANDS
from tests.house import HEAVY, ROOT, core_modules, modules
from tests.started import own_environment

# Third-party packages that a runtime module may import at its top, and one that only its own module may.
RUNTIME_MAY_IMPORT = frozenset({"PIL", "clasp_trt", "jinja2", "numpy", "tokenizers"})
HOMES = {"clasp_trt.runtime.backends.ort": {"onnxruntime"}, "clasp_trt.runtime.logits.grammar": {"llguidance"}}
WITH_RAY = frozenset(f"clasp_trt.runtime.serving.cluster.{name}" for name in ("application", "routing"))
"""What imports Ray, which is in no environment of CI."""
HOMES |= {name: {"ray"} for name in WITH_RAY}
RUNTIME = [name for name in modules(below="clasp_trt.runtime") if name not in WITH_RAY]
SERVING = frozenset({"fastapi", "prometheus_client", "pydantic", "pydantic_core", "starlette", "uvicorn"})
"""What the extra ``serve`` brings: its own folder may import it, and nobody imports that folder but who serves."""

# Runs in a fresh interpreter: executes each labelled step and notes which watched packages it has loaded.
PROBE = """
import json, sys
steps, watched = json.loads(sys.stdin.read())
loaded = {}
for label, code in steps:
    exec(code, {})
    for name in set(watched) - set(loaded):
        if any(module == name or module.startswith(name + ".") for module in sys.modules):
            loaded[name] = label
print(json.dumps(loaded))
"""

# What needs no bundle opens none: help, and lists that are in the package.
UNOPENED = HEAVY | {"PIL", "clasp_trt.bundle", "clasp_trt.runtime", "clasp_trt.tools", "numpy", "onnxruntime"}

COMMAND = """
from click.testing import CliRunner
from tests.commands import GROUP
result = CliRunner().invoke(GROUP, {arguments!r}, prog_name="clasp-trt")
assert result.exit_code == 0, result.output
assert result.output.startswith({beginning!r}), result.output
"""


def first_loaded_by(steps: list[tuple[str, str]], watched: frozenset[str]) -> dict[str, str]:
    """Which of ``watched`` a fresh interpreter loads, itself or a part, during ``steps`` (label, code), and when."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=json.dumps([steps, sorted(watched)]),
        cwd=ROOT,
        env=own_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return loaded


def running(*line: str, beginning: str) -> tuple[str, str]:
    """A step that runs ``clasp-trt`` with ``line``, whose output must begin as said."""
    return " ".join(line), COMMAND.format(arguments=line, beginning=beginning)


def importing(names: list[str]) -> list[tuple[str, str]]:
    return [(name, f"import {name}") for name in names]


def test_probe_sees_what_is_loaded() -> None:
    steps = [("one", "import sys"), ("two", "import xml.dom.minidom"), ("three", "import xml.sax")]
    assert first_loaded_by(steps, frozenset({"xml", "wave"})) == {"xml": "two"}
    steps = [("one", "import xml.dom"), ("two", "import xml.dom.minidom")]
    assert first_loaded_by(steps, frozenset({"xml.dom.minidom", "xml.do"})) == {"xml.dom.minidom": "two"}


def test_package_alone_loads_nothing_at_all() -> None:
    others = HEAVY | {"PIL", "click", "jinja2", "numpy", "onnxruntime", "tokenizers"}
    assert first_loaded_by(importing(["clasp_trt"]), others) == {}


def test_core_is_light() -> None:
    assert first_loaded_by(importing(core_modules()), HEAVY | {"onnxruntime", "tokenizers", "click"}) == {}


def test_runtime_is_light() -> None:
    names, served = RUNTIME, modules(below="clasp_trt.runtime.serving")
    assert first_loaded_by(importing(names), HEAVY) == {}
    assert first_loaded_by(importing([name for name in names if name not in served]), SERVING) == {}


def test_what_a_family_says_of_a_config_is_light() -> None:
    names = ["clasp_trt.export.family", *modules(below="clasp_trt.export.models")]
    assert len(names) > 2
    assert first_loaded_by(importing(names), HEAVY | {"onnxruntime"}) == {}


def test_help_of_every_command_is_light() -> None:
    from tests.commands import command_names

    names = command_names()
    assert {"build", "export", "run", "inspect", "route", "targets", "doctor"} <= set(names)
    lines = [(), *((name,) for name in names), *(("router", name) for name in ROUTER_COMMANDS)]
    steps = [running(*line, "--help", beginning="Usage: clasp-trt") for line in lines]
    assert first_loaded_by(steps, UNOPENED) == {}


def test_help_of_the_program_loads_no_command() -> None:
    watched = frozenset(modules(below="clasp_trt")) - {"clasp_trt", "clasp_trt.errors"}
    loaded = first_loaded_by([running("--help", beginning="Usage: clasp-trt")], watched)
    assert set(loaded) == {"clasp_trt.cli", "clasp_trt.cli.lazy", "clasp_trt.cli.signals"}


def test_targets_needs_no_bundle() -> None:
    steps = [running("targets", beginning="TARGET"), running("targets", "--json", beginning="[")]
    assert first_loaded_by(steps, UNOPENED | {"clasp_trt.schedule"}) == {}


def test_bundle_opens_without_numpy() -> None:
    assert first_loaded_by(importing(["clasp_trt.bundle", "clasp_trt.options"]), frozenset({"numpy"})) == {}


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
    allowed = RUNTIME_MAY_IMPORT | HOMES.get(name, set())
    if name.startswith("clasp_trt.runtime.serving."):
        allowed |= SERVING
    assert set(top_level_imports(name)) - sys.stdlib_module_names <= allowed
