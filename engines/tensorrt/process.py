"""One graph becomes one engine, in a process of its own.

TensorRT orders tables by addresses, so that equal builds are equal bytes only where memory is laid out equally: in a
fresh process, without address randomisation. Such a process also gives all its memory back, ends at once when told to,
and takes nobody along should native code die.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import clasp_trt
from clasp_trt.engines.tensorrt import memory, unversioned
from clasp_trt.engines.tensorrt.builder import Job, Recipe
from clasp_trt.engines.tensorrt.unversioned import unversioned_libraries
from clasp_trt.errors import BackendError

_LOOK_S = 0.1
# as a module, not by -c: that would look for every import in the working folder too, whose path has any length
_WORKER = ("-m", "clasp_trt.engines.tensorrt.worker")
_SEARCH = "LD_LIBRARY_PATH"
_PASSED_ON = (_SEARCH, "PATH", "PYTHONPATH")  # what it takes to find the library; more would move memory


def build_apart(recipe: Recipe, job: Job, go_on: Callable[[float], bool]) -> None:
    """Does as :func:`clasp_trt.engines.tensorrt.builder.build_engine`, in a process that ends with the build.

    ``go_on`` is called in this process, at least ten times a second; whatever it or a signal raises ends the build.
    """
    folder = job.output.parent
    # the worker starts at a fixed place and gets the folder as a descriptor: the length of a path, like the size of
    # the environment, can move what lies in memory
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    request = {
        "folder": f"{place:08}",  # of one length, whatever is open here
        "backend": recipe.library.backend,
        "sms": recipe.sms,
        "workspace": recipe.workspace,
        "sparse": recipe.sparse,
        "graph": asdict(job.graph),
        "profiles": [asdict(profile) for profile in job.profiles],
        "weights": job.weights,
        "plugins": job.plugins,
        "model": os.path.relpath(job.model, folder),
        "output": job.output.name,
    }
    with ExitStack() as stack:
        asked, errors = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        if job.plugins:
            stack.enter_context(unversioned_libraries(folder))
        asked.write(json.dumps(request).encode())
        asked.seek(0)
        child = subprocess.Popen(
            [sys.executable, *_WORKER, recipe.library.backend],
            cwd="/", env=_environment(job.plugins), pass_fds=(place,), stdin=asked, stdout=subprocess.PIPE,
            stderr=errors, start_new_session=True,
        )  # fmt: skip
        os.close(place)
        try:
            last = _follow(child, go_on)
            child.wait()
        finally:
            child.kill()  # at once; nothing of it is of use
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        if child.returncode == 0 and last == "done":
            return
        job.output.unlink(missing_ok=True)
        errors.seek(0)
        raise BackendError(_reason(recipe, job, child.returncode, last, errors.read().decode(errors="replace")))


def _environment(plugins: Sequence[str]) -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    if plugins:
        search = (unversioned.FOLDER, passed.get(_SEARCH, ""))
        passed[_SEARCH] = os.pathsep.join(filter(None, search))
    here = str(Path(clasp_trt.__file__).absolute().parents[1])  # should the package not be installed
    found = [path for path in passed.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(path) and path != here]
    return {**passed, "PYTHONPATH": os.pathsep.join((*found, here)), "PYTHONHASHSEED": "0"}


def _follow(child: subprocess.Popen[bytes], go_on: Callable[[float], bool]) -> str:
    """Passes the fractions that ``child`` prints to ``go_on`` until its output ends; returns the last other line."""
    assert child.stdout is not None
    pipe, waiting, part, last = child.stdout.fileno(), b"", 0.0, ""
    while True:
        if select.select([pipe], [], [], _LOOK_S)[0]:
            chunk = os.read(pipe, 65536)
            if not chunk:
                return last
            *lines, waiting = (waiting + chunk).split(b"\n")
            for line in map(bytes.decode, lines):
                if line.startswith("part "):
                    part = float(line[5:])
                else:
                    last = line
        if not go_on(part):
            return "cancelled"


def _reason(recipe: Recipe, job: Job, code: int, last: str, errors: str) -> str:
    if last.startswith("refused "):
        return str(json.loads(last.removeprefix("refused ")))
    if code == -signal.SIGKILL:  # as the kernel does when memory runs out
        return memory.exhausted(job.graph, job.weights)
    told = [line for line in errors.splitlines() if line.strip()]
    library = recipe.library
    return (
        f"{library.backend} {library.version} died of the graph {job.graph.name} (exit code {code}"
        f"{f': {told[-1]}' if told else ''}); report this"
    )
