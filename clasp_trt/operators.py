"""The two operators that this project adds to ONNX: what each promises, whoever implements it.

A contract is shared by the ONNX function body (:mod:`clasp_trt.export`), the normative numpy reference
(:mod:`clasp_trt.ops`) and the device implementations (:mod:`clasp_trt.engines`). It needs none of them, nor numpy: the
manifest and the command line know the operators by name alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

DOMAIN = "clasp"
DOMAIN_VERSION = 1
PLUGIN_NAMESPACE = "clasp"
"""Namespace in which TensorRT looks for the plugins; other backends ignore it and run the function bodies."""

MAX_TOKENS = 1 << 14
"""Bound on the tokens of one selection. An implementation may halve a similarity's 20 bits and add each half in
float32: so many halves of ten bits add up to 24 bits, which float32 holds exactly."""


@dataclass(frozen=True)
class OpTensor:
    """Element type and shape of an input or output: ``axes`` names sizes, and equal names are equal sizes."""

    dtype: str
    axes: tuple[str, ...]


@dataclass(frozen=True)
class OpContract:
    """Name, version and signature of one operator.

    ``attributes`` maps names to their meaning; ``inputs`` and ``outputs`` are in the operator's order.
    """

    name: str
    version: int
    attributes: dict[str, str]
    inputs: dict[str, OpTensor]
    outputs: dict[str, OpTensor]


PIVOT_SELECT = OpContract(
    name="ClaspPivotSelect",
    version=1,
    attributes={"keep": "R, tokens kept by the stage; bounds pivot_count"},
    inputs={"saliency": OpTensor("float32", ("batch", "tokens")), "pivot_count": OpTensor("int64", ("batch",))},
    outputs={"pivots": OpTensor("bool", ("batch", "tokens"))},
)
"""The attention-salient tokens that a stage keeps first (Eq. 12)."""

SPHERICAL_KMEANS = OpContract(
    name="ClaspSphericalKMeans",
    version=1,
    attributes={"keep": "R, tokens kept by the stage", "iterations": "rounds of assignment and update"},
    inputs={
        "gram": OpTensor("float32", ("batch", "tokens", "tokens")),
        "pivots": OpTensor("bool", ("batch", "tokens")),
    },
    outputs={"kept": OpTensor("int64", ("batch", "keep")), "is_pivot": OpTensor("bool", ("batch", "keep"))},
)
"""Completes pivots with medoids of a fixed-iteration spherical k-means (Eqs. 13-18)."""


def varying(contract: OpContract) -> OpContract:
    """``contract`` where the numbers of tokens are those of a request: no attribute says how many stay, but the length
    of a last input ``ranks``, which counts them from 0."""
    attributes = {name: meaning for name, meaning in contract.attributes.items() if name != "keep"}
    return replace(
        contract, attributes=attributes, inputs={**contract.inputs, "ranks": OpTensor("int64", ("keep",))}
    )  # fmt: skip
