"""A decoder rounded by what real requests give its layers: one layer after the other, each fed by those that are
rounded already.

Of a layer the sums ``Xᵀ X`` of what enters its linear layers are gathered over all requests, its matrices are
:mod:`rounded by them <clasp_trt.export.weights.compensation>`, and the requests go on through the rounded layer. Memory
holds one layer in float32, its sums in float64, and one request; what the others are at that point lies in files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clasp_trt.bundle.roundings import Rounding
from clasp_trt.chain import port
from clasp_trt.errors import CheckpointError
from clasp_trt.export.reference import Arrays, Reference
from clasp_trt.export.weights.compensation import compensated
from clasp_trt.export.weights.kept import Kept, fingerprint
from clasp_trt.export.weights.packing import unpacked
from clasp_trt.export.weights.rounding import Rounded
from clasp_trt.export.weights.stored import Weight
from clasp_trt.progress import Progress, silent

_LAYER = re.compile(r"layers\.(\d+)\.(.+)\.weight")


class Requests:
    """Requests as they enter a decoder's layer, in the files of ``folder``: what goes with all layers, and
    ``hidden``."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def __len__(self) -> int:
        return self._count

    def add(self, feed: Arrays) -> None:
        """One more: the inputs of a decoder's segment by name, those that the model has."""
        others: dict[str, Any] = {name: feed[name] for name in feed if name != port.HIDDEN}
        np.savez(self._folder / f"{self._count}.npz", **others)
        self._count += 1
        self.go_on(self._count - 1, feed[port.HIDDEN])

    def __getitem__(self, number: int) -> dict[str, NDArray[Any]]:
        with np.load(self._folder / f"{number}.npz") as others:
            return {**others, port.HIDDEN: np.load(self._folder / f"{number}.npy")}

    def go_on(self, number: int, hidden: NDArray[Any]) -> None:
        """Request ``number`` now enters the next layer as ``hidden`` ``[1, rows, width]``."""
        np.save(self._folder / f"{number}.npy", hidden.astype(np.float32, copy=False))


def calibrate(
    reference: Reference, requests: Requests, matrices: Mapping[str, Kept], dtype: str, progress: Progress = silent
) -> list[Rounding]:
    """Rounds ``matrices``, which are all of the decoder's layers by the names of graphs, and keeps each where it says;
    scales are in ``dtype``. The layers of ``reference`` are gone afterwards. Raises :class:`CheckpointError` for a
    weight that is not finite, or whose scale ``dtype`` does not hold."""
    by_layer = _by_layer(matrices, reference)
    found, steps = list[Rounding](), 2 * len(requests)
    for number, kept in enumerate(by_layer):

        def on_step(done: int, number: int = number) -> None:
            progress(f"calibrate layer {number}", number * steps + done, len(by_layer) * steps)

        layer = reference.held(number)
        modules = {name: layer.get_submodule(name) for name in kept}
        sums = Sums(modules)
        for row in range(len(requests)):
            on_step(row)
            reference.layer(requests[row], number)
        for name, gram in sums.take():
            found.append(_round(modules[name], kept[name], gram, dtype))
        for row in range(len(requests) if number < reference.layers - 1 else 0):
            on_step(len(requests) + row)
            requests.go_on(row, reference.layer(requests[row], number))
        reference.dropped(number)
    return found


def _by_layer(matrices: Mapping[str, Kept], reference: Reference) -> list[dict[str, Kept]]:
    """The matrices of each layer by the names of their modules in it, which are all linear layers that it has."""
    found = [dict[str, Kept]() for _ in range(reference.layers)]
    for name, kept in matrices.items():
        place = _LAYER.fullmatch(name)
        assert place is not None, name
        found[int(place[1])][place[2]] = kept
    for number, names in enumerate(reference.linears()):
        if names != found[number].keys():
            raise RuntimeError(
                f"layer {number} has linear layers {sorted(names)}, and matrices {sorted(found[number])}"
            )
    return found


class Sums:
    """``Xᵀ X``, float64 ``[inputs, inputs]``, of the rows that enter linear ``modules`` from now on; modules that take
    the same rows, such as those of query, key and value, have one sum."""

    def __init__(self, modules: Mapping[str, Any]) -> None:
        self._grams: dict[str, torch.Tensor] = {}
        self._shared: dict[str, str] = {}
        self._last: tuple[torch.Tensor | None, str] = (None, "")
        self._hooks = [module.register_forward_pre_hook(self._hook(name)) for name, module in modules.items()]

    def take(self) -> list[tuple[str, torch.Tensor]]:
        """Ends the gathering: the sum of each module, in the order in which they were computed."""
        for hook in self._hooks:
            hook.remove()
        return [(name, self._grams[first]) for name, first in self._shared.items()]

    def _hook(self, name: str) -> Any:
        def gather(_: Any, given: tuple[torch.Tensor, ...]) -> None:
            same, first = self._last
            if same is not given[0]:
                rows = given[0].detach().reshape(-1, given[0].shape[-1]).to(torch.float64)
                first = self._shared.get(name, name)
                if first not in self._grams:
                    self._grams[first] = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
                self._grams[first].addmm_(rows.T, rows)
                self._last = given[0], first
            self._shared.setdefault(name, first)

        return gather


def _round(module: Any, kept: Kept, gram: torch.Tensor, dtype: str) -> Rounding:
    """Rounds the weight of ``module`` in place, and keeps it."""
    before = module.weight.detach()
    if not bool(before.isfinite().all()):
        raise CheckpointError(
            f"the tensor {kept.key} holds values that are not finite, which no scale rounds; take a sound copy of the "
            "checkpoint, or leave the decoder out of --quantize"
        )
    if not bool(gram.isfinite().all()):
        raise CheckpointError(
            f"what enters the matrix {kept.key} is not finite for these questions; take a sound copy of the "
            "checkpoint, or drop --calibration"
        )
    made = compensated(before, gram, kept.bits, kept.block, getattr(torch, dtype))
    scales = made.scales.to(torch.float32)
    if not bool(scales.isfinite().all()):
        raise CheckpointError(
            f"the tensor {kept.key} holds {float(before.abs().max()):g}, whose scale is beyond {dtype}; use "
            "--precision bf16 or fp32"
        )
    values, floats = made.values.numpy(), scales.numpy()
    kept.keep(values, floats)
    after = unpacked(kept, dtype, "float32")
    plain = Rounded(Weight(kept.key, kept.shape, "float32", lambda: before), kept.bits, kept.block)
    nearest = unpacked(plain, dtype, "float32")
    module.weight = torch.nn.Parameter(after, requires_grad=False)
    return Rounding(
        kept.name,
        kept.shape,
        fingerprint(values, floats),
        changed(before, after),
        _weighed(before, after, gram),
        _weighed(before, nearest, gram),
    )


def changed(before: torch.Tensor, after: torch.Tensor) -> float:
    """The change of weights, root mean square over that of those ``before``."""
    whole = float(before.double().square().sum())
    return (float((after.double() - before.double()).square().sum()) / whole) ** 0.5 if whole else 0.0


def _weighed(before: torch.Tensor, after: torch.Tensor, gram: torch.Tensor) -> float:
    """The same of the products with the rows whose sum is ``gram``."""
    whole = _square(before.double(), gram)
    return (_square(after.double() - before.double(), gram) / whole) ** 0.5 if whole > 0 else 0.0


def _square(matrix: torch.Tensor, gram: torch.Tensor) -> float:
    return max(0.0, float(torch.einsum("oi,oi->", matrix @ gram, matrix)))
