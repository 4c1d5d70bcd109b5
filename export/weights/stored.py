"""The tensors of a checkpoint's safetensors files, none of them read yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.notice import tell

if TYPE_CHECKING:
    import torch

    from clasp_trt.export.weights.packing import Packing

FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Types that weights may have, as safetensors and as torch name them."""


@dataclass(frozen=True, eq=False)
class Weight:
    """A weight that is read when it is asked for: ``key`` is its name on disk, ``dtype`` torch's name of a float type,
    or safetensors' of any other, such as ``I32``. What has a ``packing`` may be held as integers instead; it is read as
    what these stand for once it is :func:`~clasp_trt.export.weights.transforms.cast`."""

    key: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], torch.Tensor]
    packing: Packing | None = None


Tensors = Mapping[str, Weight]
"""Weights by name."""


def stored(checkpoint: Checkpoint) -> dict[str, Weight]:
    """All tensors under the names that they have on disk. Raises :class:`CheckpointError` for files it cannot read."""
    found: dict[str, Weight] = {}
    places: dict[str, Path] = {}
    for path in checkpoint.shards:
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118  not a dict
                    view = file.get_slice(key)
                    kind = view.get_dtype()
                    if key in found:
                        other = places[key].name
                        tell(f"the tensor {key} is in {other} and in {path.name}: the last is read, as in transformers")
                    places[key] = path
                    found[key] = Weight(key, tuple(view.get_shape()), FLOATS.get(kind, kind), partial(_read, path, key))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is not a readable safetensors file ({error}); download it again") from None
    return found


def _read(path: Path, key: str) -> torch.Tensor:
    with safe_open(path, framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(key)
        return tensor
