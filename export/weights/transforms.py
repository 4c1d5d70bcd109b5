"""Functions from tensors to tensors: none reads a weight, each says how one will differ once it is read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from clasp_trt.errors import CheckpointError
from clasp_trt.export.weights.names import Rules, canonical
from clasp_trt.export.weights.packing import unpacked
from clasp_trt.export.weights.stored import FLOATS, Tensors, Weight
from clasp_trt.notice import tell

if TYPE_CHECKING:
    import torch

_PART = 1 << 22
"""Elements that are cast at once: what their check holds beside a weight."""


def renamed(tensors: Tensors, rules: Rules) -> dict[str, Weight]:
    """The same weights under canonical names, so that old and new layouts of a checkpoint look alike.

    Of two that get the same name the one whose name on disk comes first in the alphabet counts, as in transformers, and
    a :class:`~clasp_trt.notice.Notice` names both.
    """
    found: dict[str, Weight] = {}
    for name in sorted(tensors, key=lambda name: name.split(".")):
        kept = found.setdefault(canonical(name, rules), tensors[name])
        if kept is not tensors[name]:
            tell(f"the same tensor is stored as {kept.key} and as {name}: the first is read, as in transformers")
    return found


def tied(tensors: Tensors, head: str, embedding: str) -> dict[str, Weight]:
    """Whichever of the two is stored stands for both; two that are stored stay two, as in transformers."""
    shared = tensors.get(embedding, tensors.get(head))
    return dict(tensors) if shared is None else {head: shared, embedding: shared, **tensors}


def flattened(tensors: Tensors, name: str) -> dict[str, Weight]:
    """The kernel ``name`` of a convolution whose patches do not overlap as the matrix ``[out, numbers of a patch]``."""
    kernel = tensors.get(name)
    if kernel is None:
        return dict(tensors)
    first, *others = kernel.shape or (1,)
    return {**tensors, name: replace(kernel, shape=(first, math.prod(others)), read=partial(_flattened, kernel))}


def _flattened(kernel: Weight) -> torch.Tensor:
    return kernel.read().flatten(1)


def raised(tensors: Tensors, pattern: str) -> dict[str, Weight]:
    """Weights whose whole names match ``pattern`` are 1 more than what is stored, in float32 at least."""
    return {
        name: replace(weight, dtype=_at_least_float32(weight.dtype), read=partial(_raised, weight))
        if re.fullmatch(pattern, name) and weight.dtype in FLOATS.values()
        else weight
        for name, weight in tensors.items()
    }


def _at_least_float32(dtype: str) -> str:
    return dtype if dtype == "float64" else "float32"


def _raised(weight: Weight) -> torch.Tensor:
    import torch

    return weight.read().to(getattr(torch, _at_least_float32(weight.dtype))) + 1


def cast(tensors: Tensors, dtype: str) -> dict[str, Weight]:
    """Floats in ``dtype``, torch's name, and so the scales of what is packed; what is no float stays as it is.

    Reading raises :class:`CheckpointError` for a weight with values that ``dtype`` cannot hold.
    """
    return {
        name: replace(weight, dtype=dtype, read=_in(weight, dtype)) if weight.dtype in FLOATS.values() else weight
        for name, weight in tensors.items()
    }


def _in(weight: Weight, dtype: str) -> Callable[[], torch.Tensor]:
    return partial(_cast, weight, dtype) if weight.packing is None else partial(unpacked, weight.packing, dtype)


def _cast(weight: Weight, dtype: str) -> torch.Tensor:
    import torch

    source, wanted = weight.read(), getattr(torch, dtype)
    if source.dtype == wanted:
        return source
    tensor = torch.empty(source.shape, dtype=wanted)
    given, made = source.reshape(-1), tensor.view(-1)
    for start in range(0, len(given), _PART):
        part, into = (each[start : start + _PART] for each in (given, made))
        into.copy_(part)
        if bool((into.isinf() & part.isfinite()).any()):
            advice = "use --precision bf16 or fp32" if dtype == "float16" else "no precision holds it"
            raise CheckpointError(
                f"the tensor {weight.key} holds {float(source[source.isfinite()].abs().max()):g}, beyond the "
                f"{torch.finfo(wanted).max:g} of {dtype}; {advice}"
            )
    return tensor
