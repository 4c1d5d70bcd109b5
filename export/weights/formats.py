"""The tensors of a checkpoint that is quantised already, by the format that its config names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.quantised import Method, Quantised
from clasp_trt.export.weights.awq import awq
from clasp_trt.export.weights.compressed import compressed
from clasp_trt.export.weights.fp8 import fp8
from clasp_trt.export.weights.gptq import gptq
from clasp_trt.export.weights.stored import Tensors, Weight

_READERS: Mapping[Method, Callable[[Tensors, Quantised], dict[str, Weight]]] = {
    "gptq": gptq,
    "awq": awq,
    "compressed-tensors": compressed,
    "fp8": fp8,
    "fbgemm_fp8": fp8,
}


def read(tensors: Tensors, checkpoint: Checkpoint) -> Tensors:
    """``tensors`` by their names on disk, where matrices of integers or FP8 are weights that have a packing; which
    those are the tensors say. Raises :class:`CheckpointError` for what is not of the format."""
    quantised = checkpoint.quantised
    if quantised is None:
        return tensors
    found = _READERS[quantised.method](tensors, quantised)
    if found == dict(tensors):
        raise CheckpointError(
            f"{checkpoint.root} has no tensor of {quantised.method} ({quantised.layout}), by which its config.json is "
            "quantised; take the files that belong together"
        )
    return found
