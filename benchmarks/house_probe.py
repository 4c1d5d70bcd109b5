"""What only a tree's own code can tell of it: run as ``python -c`` in the root of the tree, by :mod:`benchmarks.house`.

One word says what is wanted (``modules LINE...``, ``trace OUT`` or ``imports``), and a line of JSON is the answer.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any


def modules(*line: str) -> dict[str, Any]:
    """The modules that ``clasp-trt`` with ``line`` loads, beyond what the interpreter has loaded by itself."""
    before = set(sys.modules)
    from clasp_trt.cli import main

    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main(list(line))
    return {"modules": sorted(set(sys.modules) - before)}


def trace(out: str) -> dict[str, Any]:
    """The functions of the tree that a build of clasp-tiny into ``out`` runs, and an answer of that bundle."""
    import clasp_trt

    model = os.path.join("clasp_trt", "assets", "clasp-tiny")
    built = _functions(lambda: clasp_trt.build(model, out))
    picture = os.path.join("examples", "photos", "chelsea.jpg")
    answered = _functions(lambda: clasp_trt.load(out).generate(picture, "What is this?", max_new_tokens=2))
    return {"build": built, "generate": answered}


def _functions(work: Callable[[], object]) -> list[tuple[str, str, int]]:
    """File, name and line of each function that ``work`` calls; module and class bodies, run by imports, are none."""
    seen: set[CodeType] = set()

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            seen.add(frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    root = os.path.realpath(os.curdir) + os.sep
    functions = [code for code in seen if code.co_flags & inspect.CO_OPTIMIZED and os.path.isfile(code.co_filename)]
    found = ((os.path.realpath(code.co_filename), code) for code in functions)
    return [(path[len(root) :], code.co_name, code.co_firstlineno) for path, code in found if path.startswith(root)]


def imports() -> dict[str, Any]:
    """What each module of the package imports of it, anywhere in its text but under ``TYPE_CHECKING``."""
    import grimp

    graph = grimp.build_graph("clasp_trt", exclude_type_checking_imports=True, cache_dir=None)
    arrows = {name: sorted(graph.find_modules_directly_imported_by(name)) for name in sorted(graph.modules)}
    return {"imports": arrows, "packages": sorted(name for name in arrows if graph.find_children(name))}


if __name__ == "__main__":
    answer = {"modules": modules, "trace": trace, "imports": imports}[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(answer))
