"""What is said of a tensor before there is one: its name, element type and shape."""

from __future__ import annotations

from dataclasses import dataclass

DTYPES = ("float32", "float16", "bfloat16", "int64", "bool")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph: ``dtype`` is one of :data:`DTYPES`, a ``str`` in ``shape`` is a symbolic
    dim."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
