"""What is said of a tensor before there is one: its name, element type and shape."""

from __future__ import annotations

from dataclasses import dataclass

DTYPES = ("float32", "float16", "bfloat16", "int64", "bool")
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "bool": 1}
"""Bytes of an element of each."""
FLOATS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
"""The dtype of weights and hidden states of each precision."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph: ``dtype`` is one of :data:`DTYPES`, a ``str`` in ``shape`` is a symbolic
    dim."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"
