"""The two operators that this project adds to ONNX: what each promises, whoever implements it.

A contract is shared by the ONNX function body (:mod:`clasp_trt.export`), the normative numpy reference
(:mod:`clasp_trt.ops`) and the device implementations (:mod:`clasp_trt.engines`). It needs none of them, nor numpy: the
manifest and the command line know the operators by name alone.
"""

from __future__ import annotations

from dataclasses import dataclass

DOMAIN = "clasp"
DOMAIN_VERSION = 1
PLUGIN_NAMESPACE = "clasp"
"""Namespace in which TensorRT looks for the plugins; other backends ignore it and run the function bodies."""

MAX_TOKENS = 1 << 14
"""Bound on the tokens of one selection. An implementation may halve a similarity's 20 bits and add each half in
float32: so many halves of ten bits add up to 24 bits, which float32 holds exactly."""


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


PIVOT_SELECT = OpContract(
    name="ClaspPivotSelect",
    version=1,
    attributes={"keep": "R, tokens kept by the stage; bounds pivot_count"},
    inputs={"saliency": "float32[batch, tokens]", "pivot_count": "int64[batch]"},
    outputs={"pivots": "bool[batch, tokens]"},
)
"""The attention-salient tokens that a stage keeps first (Eq. 12)."""

SPHERICAL_KMEANS = OpContract(
    name="ClaspSphericalKMeans",
    version=1,
    attributes={"keep": "R, tokens kept by the stage", "iterations": "rounds of assignment and update"},
    inputs={"gram": "float32[batch, tokens, tokens]", "pivots": "bool[batch, tokens]"},
    outputs={"kept": "int64[batch, keep]", "is_pivot": "bool[batch, keep]"},
)
"""Completes pivots with medoids of a fixed-iteration spherical k-means (Eqs. 13-18)."""
