"""What the tests of the house share: where the folders lie and what the package consists of."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "clasp_trt"
FOLDERS = ("export", "engines", "runtime")  # in the order in which data flows
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# What neither the core, the runtime nor a look at the command line's help may load.
HEAVY = frozenset(
    {"huggingface_hub", "onnx", "onnx_ir", "onnxscript", "safetensors", "tensorrt", "tensorrt_rtx", "torch"}
    | {"transformers"}
)


def package_files() -> set[str]:
    """Every file of the package as an installation has it: posix paths from ``clasp_trt/`` on."""
    found = set()
    for folder, subfolders, names in os.walk(PACKAGE, followlinks=True):
        subfolders[:] = [name for name in subfolders if name != "__pycache__"]
        here = Path(folder).relative_to(ROOT)
        found |= {(here / name).as_posix() for name in names}
    return found


def modules(*, below: str = "clasp_trt") -> list[str]:
    """Dotted names of the modules at and below a package, sorted, read from the tree without importing."""
    names = []
    for file in package_files():
        if file.endswith(".py"):
            parts = file.removesuffix(".py").split("/")
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return sorted(name for name in names if name == below or name.startswith(f"{below}."))


def core_modules() -> list[str]:
    """The words: the modules outside the three folders, the tools and the command line."""
    above = (*FOLDERS, "cli", "tools", "__main__")
    return [name for name in modules() if not name.startswith(tuple(f"clasp_trt.{each}" for each in above))]
