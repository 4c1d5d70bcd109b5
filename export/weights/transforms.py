"""Functions from tensors to tensors: none reads a weight, each says how one will differ once it is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from clasp_trt.errors import CheckpointError
from clasp_trt.export.weights.stored import FLOATS, Tensors, Weight

if TYPE_CHECKING:
    import torch


def renamed(tensors: Tensors, rules: Sequence[tuple[str, str]]) -> dict[str, Weight]:
    """The same weights under canonical names, so that old and new layouts of a checkpoint look alike.

    A rule is a regular expression for the start of a name and what stands in its place; the first that matches counts.
    """
    return {_canonical(name, rules): weight for name, weight in tensors.items()}


def _canonical(name: str, rules: Sequence[tuple[str, str]]) -> str:
    for pattern, start in rules:
        if found := re.match(pattern, name):
            return start + name[found.end() :]
    return name


def tied(tensors: Tensors, head: str, embedding: str) -> dict[str, Weight]:
    """Whichever of the two is stored stands for both; two that are stored stay two, as in transformers."""
    shared = tensors.get(embedding, tensors.get(head))
    return dict(tensors) if shared is None else {head: shared, embedding: shared, **tensors}


def cast(tensors: Tensors, dtype: str) -> dict[str, Weight]:
    """Floats in ``dtype``, torch's name; what is no float stays as it is.

    Reading raises :class:`CheckpointError` for a weight with values that ``dtype`` cannot hold.
    """
    return {
        name: replace(weight, dtype=dtype, read=partial(_cast, weight, dtype))
        if weight.dtype in FLOATS.values()
        else weight
        for name, weight in tensors.items()
    }


def _cast(weight: Weight, dtype: str) -> torch.Tensor:
    import torch

    source = weight.read()
    tensor = source.to(getattr(torch, dtype))
    if tensor.dtype != source.dtype and bool((tensor.isinf() & source.isfinite()).any()):
        advice = "use --precision bf16 or fp32" if dtype == "float16" else "no precision holds it"
        raise CheckpointError(
            f"the tensor {weight.key} holds {float(source[source.isfinite()].abs().max()):g}, beyond the "
            f"{torch.finfo(tensor.dtype).max:g} of {dtype}; {advice}"
        )
    return tensor
