"""A source tree in numbers: files and lines, rooms and floors, names that stand where they should not."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from clasp_trt.chain import names, port

PROBE = Path(__file__).with_name("house_probe.py")
FOLDERS = ("words", "cli", "tools", "export", "engines", "runtime", "tests", "benchmarks", "examples")
FORMER_TOOLS = frozenset(
    {"calibration", "demo", "evaluation", "planning", "profiling", "routing", "verification"}
    | {"companions.py", "compiler.py", "dataset.py", "scoring.py"}
)
"""What lay in ``clasp_trt/`` itself before there was ``clasp_trt/tools/``."""

Arrows = Mapping[str, Collection[str]]

_CACHES = [side(cache)[: -len("0")] for cache in port.caches(0) for side in (port.past, port.present)]
_NAMES = frozenset({*names.OF_CLIPS, *names.OF_CLIPS.values(), names.EMBED, names.GRAM, names.GREEDY})
_BEGINNINGS = (names.segment(0)[:-1], names.prune(0)[:-1], *_CACHES)
_NUMBERED = re.compile(rf"(?:{'|'.join(map(re.escape, _BEGINNINGS))})[0-9]*")
# The chain itself; the keys of the manifest, which its format fixes; and the tensors of an operator, which are ports of
# no graph.
_AT_HOME = (
    "clasp_trt/chain/",
    "clasp_trt/bundle/codec.py",
    "clasp_trt/bundle/schema1.py",
    "clasp_trt/operators.py",
    "clasp_trt/plugins/",
)


def sources(root: Path) -> dict[Path, str]:
    """The Python files of a tree relative to its root, each with the folder of :data:`FOLDERS` that it counts to."""
    found = {}
    for top in ("clasp_trt", *FOLDERS[3:]):
        for folder, _, files in os.walk(root / top):  # which follows no link: each file once
            for name in files:
                if name.endswith(".py"):
                    path = Path(folder, name).relative_to(root)
                    found[path] = _folder(path)
    return dict(sorted(found.items()))


def _folder(path: Path) -> str:
    top, below = path.parts[:2]
    if top != "clasp_trt":
        return top
    return "tools" if below == "tools" or below in FORMER_TOOLS else "cli" if below == "cli" else "words"


def lines(path: Path) -> int:
    """Lines of a file, blank ones and comments too."""
    return len(path.read_text(encoding="utf-8").splitlines())


def literals(root: Path) -> list[str]:
    """Where a graph or a cache is named by a literal outside :mod:`clasp_trt.chain`, as ``file:line: name``."""
    product = [path for path, folder in sources(root).items() if folder in FOLDERS[:6]]
    return [
        f"{path}:{line}: {name}"
        for path in product
        if not path.as_posix().startswith(_AT_HOME)
        for line, name in graph_names((root / path).read_text(encoding="utf-8"))
    ]


def graph_names(text: str) -> list[tuple[int, str]]:
    """Line and value of each string literal in Python ``text``, or piece of one, that is the name of a graph or cache,
    or its beginning before a number."""
    texts = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant) and type(node.value) is str]
    found = [(node.lineno, node.value) for node in texts]
    return sorted((line, value) for line, value in found if value in _NAMES or _NUMBERED.fullmatch(value))


def rooms(arrows: Arrows, packages: Collection[str]) -> dict[str, set[str]]:
    """Arrows between rooms. A package is one, with the modules that lie right in it; so is each module that lies in
    ``clasp_trt`` itself."""
    found: dict[str, set[str]] = {}
    for module, others in arrows.items():
        here = _room(module, packages)
        found.setdefault(here, set()).update(_room(other, packages) for other in others)
    return {room: others - {room} for room, others in found.items()}


def _room(module: str, packages: Collection[str]) -> str:
    parent = module.rpartition(".")[0]
    return module if module in packages or parent == "clasp_trt" else parent


def circles(arrows: Arrows) -> list[list[str]]:
    """The largest sets of two or more in which each leads to each, sorted."""
    reach = {name: _reached(name, arrows) for name in arrows}
    found = {frozenset(other for other in reach[name] if name in reach[other]) for name in arrows}
    return sorted(sorted(circle) for circle in found if len(circle) > 1)


def floors(arrows: Arrows) -> int:
    """How many stand on the longest chain of arrows; what stands in one circle is on one floor."""
    home = {name: name for name in arrows}
    for circle in circles(arrows):
        home.update(dict.fromkeys(circle, circle[0]))
    below: dict[str, set[str]] = {home[name]: set() for name in arrows}
    for name, others in arrows.items():
        below[home[name]] |= {home[other] for other in others} - {home[name]}
    heights: dict[str, int] = {}

    def height(name: str) -> int:
        if name not in heights:
            heights[name] = 1 + max(map(height, below[name]), default=0)
        return heights[name]

    return max(map(height, below), default=0)


def _reached(name: str, arrows: Arrows) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = set(arrows[waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def probe(root: Path, *words: str) -> dict[str, Any]:
    """What :mod:`benchmarks.house_probe` finds in the tree at ``root``, with this interpreter and its packages."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.read_text(encoding="utf-8"), *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
