"""The process of :mod:`clasp_trt.engines.tensorrt.process`: reads one request, builds one engine, says how it went.

Lines on standard output: ``part FRACTION``, then ``done`` or ``refused "REASON"``.

Started with the name of a backend, it only imports, and starts itself anew without that name and without address
randomisation. Compiling a module to byte code takes other memory than reading its ``.pyc``, and the bytes of an engine
tell: the second time, what can be compiled is.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from clasp_trt.bundle import Graph, Profile, TensorSpec
from clasp_trt.engines.tensorrt.builder import Job, Recipe, build_engine
from clasp_trt.engines.tensorrt.library import load
from clasp_trt.errors import BackendError

_QUERY, _FIXED_ADDRESSES = 0xFFFFFFFF, 0x0040000  # of personality(2)
_DIE_WITH_PARENT = 1  # of prctl(2)


def main() -> None:
    """Builds the engine that the JSON on standard input asks for."""
    libc = ctypes.CDLL(None)
    libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if len(sys.argv) > 1:
        load(sys.argv[1])
        _fix_addresses(libc)
        os.execv(sys.executable, sys.orig_argv[:-1])
    request = json.load(sys.stdin)
    place = int(request["folder"])
    os.fchdir(place)
    os.close(place)  # its number, the one thing that differs between equal builds, must not show from here on

    def ports(side: str) -> tuple[TensorSpec, ...]:
        found: list[dict[str, Any]] = request["graph"][side]
        return tuple(TensorSpec(port["name"], port["dtype"], tuple(port["shape"])) for port in found)

    def tell(part: float) -> bool:
        try:
            print(f"part {part}", flush=True)
        except OSError:  # nobody listens any more
            return False
        return True

    graph = Graph(request["graph"]["name"], request["graph"]["path"], ports("inputs"), ports("outputs"))
    profiles = [Profile(each["name"], each["sizes"]) for each in request["profiles"]]
    job = Job(
        graph, Path(request["model"]), profiles, request["weights"], Path(request["output"]), tuple(request["plugins"])
    )
    recipe = Recipe(load(request["backend"]), tuple(request["sms"]), request["workspace"], sparse=request["sparse"])
    try:
        build_engine(recipe, job, tell)
    except BackendError as error:
        print(f"refused {json.dumps(str(error))}", flush=True)
        sys.exit(2)
    print("done", flush=True)


def _fix_addresses(libc: ctypes.CDLL) -> None:
    """Programs that this process starts in its place get no address randomisation, where the kernel lets it."""
    now = libc.personality(_QUERY)
    if now != -1:
        libc.personality(now | _FIXED_ADDRESSES)


if __name__ == "__main__":
    main()
