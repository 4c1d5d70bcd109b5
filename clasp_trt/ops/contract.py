"""What an operator of domain ``clasp`` promises, whoever implements it.

The contract is shared by the ONNX function body (:mod:`clasp_trt.export`), the numpy reference beside it, and the
device implementations (:mod:`clasp_trt.engines`).
"""

from __future__ import annotations

from dataclasses import dataclass

DOMAIN = "clasp"
DOMAIN_VERSION = 1
PLUGIN_NAMESPACE = "clasp"
"""Namespace in which TensorRT looks for the plugins; other backends ignore it and run the function bodies."""


@dataclass(frozen=True)
class OpContract:
    """Name, version and signature of one operator.

    ``attributes`` maps names to their meaning; ``inputs`` and ``outputs`` map names to ``dtype[shape]`` strings, in
    which equal letters are equal sizes.
    """

    name: str
    version: int
    attributes: dict[str, str]
    inputs: dict[str, str]
    outputs: dict[str, str]
