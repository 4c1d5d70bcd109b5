"""A deployment compiler for vision-language models: CLASP visual-token pruning inside the compiled decoder.

``clasp_trt.build`` turns a checkpoint and a token budget into a bundle; ``clasp_trt.load`` opens a bundle to
answer with, ``clasp_trt.open_engine`` for many answers at once. They are fetched at first use, so that importing this
package is light and needs no extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clasp_trt.runtime.engine import open_engine as open_engine
    from clasp_trt.runtime.pipeline import load as load
    from clasp_trt.tools.build.compiler import build as build

__all__ = ["__version__", "build", "load", "open_engine"]

__version__ = "0.1.0"

_HOMES = {
    "build": "clasp_trt.tools.build.compiler",
    "load": "clasp_trt.runtime.pipeline",
    "open_engine": "clasp_trt.runtime.engine",
}


def __getattr__(name: str) -> object:
    """Fetch a public function from its home on first use (PEP 562) and keep it."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
