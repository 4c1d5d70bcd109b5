"""What the check on a GPU needs installed. Imports nothing of it, so that what is missing can be named."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

NEEDED = {
    "numpy": "numpy",
    "ml_dtypes": "ml_dtypes",
    "torch": "torch",
    "cuda.bindings": "cuda-bindings",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "pytest": "pytest",
}
"""Modules, and the packages that bring them."""

RUNTIME = {"jinja2": "jinja2", "PIL": "pillow", "tokenizers": "tokenizers"}
"""What the parts that run engines need as well: the package's own dependencies."""


def missing(modules: Mapping[str, str] = NEEDED) -> list[str]:
    """The packages of those ``modules`` that are not installed."""
    return [package for module, package in modules.items() if not _is_there(module)]


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is not there
        return False
