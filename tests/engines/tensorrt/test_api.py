"""The TensorRT that our sources use is the TensorRT of the table, and none of it is newer than a target has."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from clasp_trt import targets
from clasp_trt.engines.tensorrt import api
from clasp_trt.engines.tensorrt.library import KNOWS_PORTABLE
from clasp_trt.plugins import api as plugins_api
from tests.house import ROOT

SOURCES = ROOT / "engines" / "tensorrt"
PLUGINS = ROOT / "clasp_trt" / "plugins"
TOUCHING = {
    **{
        name: SOURCES / name for name in ("attention.py", "builder.py", "callbacks.py", "capabilities.py", "network.py")
    },
    **{name: PLUGINS / name for name in ("library.py", "plugin.py", "registry.py")},
}
TABLES = {
    **dict.fromkeys(("library.py", "plugin.py", "registry.py"), frozenset(plugins_api.SINCE)),
    "attention.py": frozenset(api.ATTENTION_SINCE),
    "capabilities.py": api.RTX_ONLY,
}
ROOTS = {"trt", "library.module"}  # how the module is called
OBJECTS = frozenset(
    {"builder", "config", "layer", "layer.attention", "network", "parser", "serialised", "binding", "wanted"}
    | {"desc", "dynamic", "expr_builder", "field", "in_out[pos]", "registry", "size"}
)
"""How our sources call the objects that TensorRT gives them."""


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _uses(source: str) -> set[str]:
    """Attributes of the module, as ``Class`` or ``Class.member``, and of its objects, as ``.member``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner, attribute = ast.unparse(node.value), node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
            owner, name = ast.unparse(node.args[0]), node.args[1]
            if not isinstance(name, ast.Constant):
                continue
            attribute = str(name.value)
        else:
            continue
        if owner in ROOTS:
            found.add(attribute)
        elif owner.partition(".")[0] == "trt":
            found.add(f"{owner}.{attribute}".removeprefix("trt."))
        elif owner in OBJECTS and attribute != "__class__":
            found.add(f".{attribute}")
    for node in ast.walk(ast.parse(source)):  # what we override of its classes
        if isinstance(node, ast.ClassDef):
            methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            for base in map(ast.unparse, node.bases):
                if base.startswith("trt."):
                    found |= {f"{base.removeprefix('trt.')}.{method}" for method in methods}
                elif base == "*capabilities":  # of one plugin, in several of TensorRT's classes
                    found |= {f".{method}" for method in methods}
    return {use for use in found if not use.endswith(".__init__")}


def _set_by_plugins() -> set[str]:
    """What a plugin or creator sets of its own, as ``.member``: attributes that TensorRT reads."""
    nodes = ast.walk(ast.parse(TOUCHING["plugin.py"].read_text()))
    targets = [target for node in nodes if isinstance(node, ast.Assign) for target in node.targets]
    parts = [each for target in targets for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return {f".{part.attr}" for part in parts if isinstance(part, ast.Attribute) and ast.unparse(part.value) == "self"}


def _listed(use: str, table: frozenset[str]) -> bool:
    return any(entry.endswith(use) for entry in table) if use.startswith(".") else use in table


@pytest.mark.parametrize("name", TOUCHING)
def test_every_attribute_is_in_the_table(name: str) -> None:
    table = TABLES.get(name, frozenset(api.SINCE))
    assert [use for use in sorted(_uses(TOUCHING[name].read_text())) if not _listed(use, table)] == []


def test_the_table_lists_nothing_that_is_not_used() -> None:
    used = set().union(*(_uses(path.read_text()) for path in TOUCHING.values()))
    listed = {*api.SINCE, *api.ATTENTION_SINCE, *plugins_api.SINCE, *api.RTX_ONLY}
    members = {use for use in used if use.startswith(".")} | {".desc"}  # of an error, which is never given a name
    members |= _set_by_plugins()
    unused = [entry for entry in listed if entry not in used and "." + entry.rpartition(".")[2] not in members]
    assert unused == []


def test_no_other_file_touches_the_module() -> None:
    """The runtime has a table of its own; in other folders than these, names such as ``config`` are something else."""
    others = [path for path in (*SOURCES.glob("*.py"), *PLUGINS.glob("*.py")) if path not in TOUCHING.values()]
    assert {path.name: _uses(path.read_text()) for path in others if _uses(path.read_text())} == {}
    far = [path for folder in ("clasp_trt", "engines", "export", "runtime") for path in (ROOT / folder).rglob("*.py")]
    assert len(far) > 200
    for path in far:
        if path.parent in (SOURCES, PLUGINS, ROOT / "runtime" / "backends" / "cuda"):
            continue
        if not any(link.is_symlink() for link in path.parents):
            named = {use for use in _uses(path.read_text()) if not use.startswith(".")}
            assert named == set(), f"{path}: of TensorRT's module, which the tables do not cover there"
            assert not re.search(r"^\s*(import|from) tensorrt", path.read_text(), re.MULTILINE), path


def test_nothing_is_newer_than_the_oldest_tensorrt_of_a_target() -> None:
    releases = [target.tensorrt for target in targets.TARGETS.values() if target.tensorrt is not None]
    assert min(map(_release, releases)) >= _release(api.OLDEST)
    assert max(map(_release, api.SINCE.values())) <= _release(api.OLDEST)
    assert max(map(_release, plugins_api.SINCE.values())) <= _release(api.OLDEST)
    assert max(map(_release, api.ATTENTION_SINCE.values())) <= KNOWS_PORTABLE


@pytest.mark.parametrize(
    "line",
    [
        "trt.BuilderFlag.FP16",
        "config.set_tactic_sources(1)",
        "trt.Builder.max_threads",
        "network.add_input()",
        "layer.precision",
        "getattr(trt, 'BuilderFlag2')",
        "hasattr(config, 'set_preview_feature')",
    ],
)
def test_another_attribute_would_be_seen(line: str) -> None:
    everything = frozenset({*api.SINCE, *api.ATTENTION_SINCE, *plugins_api.SINCE, *api.RTX_ONLY})
    assert [use for use in _uses(line) if not _listed(use, everything)]


@pytest.mark.trt
def test_the_module_has_what_the_table_says() -> None:
    from clasp_trt.engines.tensorrt.library import load

    trt: Any = load("tensorrt-rtx").module
    for entry in (*api.SINCE, *api.ATTENTION_SINCE, *plugins_api.SINCE, *api.RTX_ONLY):
        found = trt
        for part in entry.split("."):
            found = getattr(found, part)
