"""NVIDIA's runtime compiler, found where pip or a CUDA toolkit puts it, called through its C interface.

Its C interface is the same in CUDA 12 and 13, so one small binding serves both; no GPU and no headers are needed.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from clasp_trt.errors import BackendError

MAJORS = (13, 12)
"""CUDA releases whose compiler is looked for, the first found is taken."""

_WHEEL = {13: "nvidia/cu13/lib", 12: "nvidia/cuda_nvrtc/lib"}  # inside site-packages
_PACKAGE = {13: "nvidia-cuda-nvrtc", 12: "nvidia-cuda-nvrtc-cu12"}


class Compiler:
    """One loaded NVRTC; ``version`` is that of CUDA, ``(major, minor)``."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = (major.value, minor.value)

    def architectures(self) -> tuple[int, ...]:
        """Compute capabilities that it compiles for, such as 87 for 8.7."""
        count = ctypes.c_int()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        found = (ctypes.c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", found)
        return tuple(found)

    def compile(self, main: str, sources: Mapping[str, str], options: Sequence[str]) -> tuple[bytes, str]:
        """The cubin of ``sources[main]``, which may include the other sources, and the compiler's log."""
        included = {name: text for name, text in sources.items() if name != main}
        program = ctypes.c_void_p()
        self._call(
            "nvrtcCreateProgram",
            ctypes.byref(program),
            sources[main].encode(),
            main.encode(),
            ctypes.c_int(len(included)),
            _strings(list(included.values())),
            _strings(list(included)),
        )
        try:
            status = self._library.nvrtcCompileProgram(program, ctypes.c_int(len(options)), _strings(options))
            log = self._read(program, "ProgramLog").rstrip(b"\0").decode()
            if status:
                raise RuntimeError(f"the kernels do not compile: {self._message(status)}\n{log}")  # our bug
            return self._read(program, "CUBIN"), log
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(program))

    def _read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def _call(self, function: str, *arguments: object) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            raise RuntimeError(f"{function}: {self._message(status)}")

    def _message(self, status: int) -> str:
        text: bytes = self._library.nvrtcGetErrorString(status)
        return text.decode()


@cache
def load(major: int | None = None) -> Compiler:
    """The NVRTC of CUDA ``major``, or the newest there is. Raises :class:`BackendError` if there is none."""
    wanted = MAJORS if major is None else (major,)
    for each in wanted:
        for name in _candidates(each):
            try:
                return Compiler(_opened(name))
            except OSError:
                continue
    package = _PACKAGE[wanted[0]]
    raise BackendError(
        f"NVRTC, the CUDA compiler, of CUDA {' or '.join(map(str, wanted))} was not found: pip install {package}"
    )


def _opened(name: str) -> ctypes.CDLL:
    """The library. What it opens by name alone lies beside it, where some releases, such as 13.0, do not look."""
    if os.path.isabs(name):
        for companion in sorted(Path(name).parent.glob("libnvrtc-builtins.so.*")):
            ctypes.CDLL(str(companion))
    return ctypes.CDLL(name)


def _candidates(major: int) -> Iterator[str]:
    """Libraries to try: those of pip's wheels, then whatever the system's loader finds."""
    for folder in sys.path:
        yield from map(str, sorted(Path(folder or ".", _WHEEL[major]).absolute().glob(f"libnvrtc.so.{major}")))
    yield f"libnvrtc.so.{major}"
    yield f"/usr/local/cuda/lib64/libnvrtc.so.{major}"


def _strings(texts: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))
