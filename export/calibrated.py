"""A decoder made smaller by what real requests give its layers: one layer after the other, each fed by those that are
smaller already.

Of a layer it is gathered over all requests what enters its linear layers: the sums ``Xᵀ X``, by which its matrices are
:mod:`rounded <clasp_trt.export.weights.compensation>`, and the norms by which weights are :mod:`chosen
<clasp_trt.export.choosing>` that become zero, before they are rounded. Then the requests go on through the layer as it
is now. Memory holds one layer in float32, its sums in float64, and one request; what the others are at that point lies
in files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from clasp_trt.bundle.roundings import Rounding
from clasp_trt.errors import CheckpointError
from clasp_trt.export.choosing import Chosen, Norms, visual_rows
from clasp_trt.export.reference import Reference
from clasp_trt.export.requests import Requests
from clasp_trt.export.weights.compensation import compensated
from clasp_trt.export.weights.kept import Kept, fingerprint
from clasp_trt.export.weights.packing import unpacked
from clasp_trt.export.weights.rounding import Rounded
from clasp_trt.export.weights.stored import Weight
from clasp_trt.progress import Progress, silent

_LAYER = re.compile(r"layers\.(\d+)\.(.+)\.weight")


def calibrate(
    reference: Reference,
    requests: Requests,
    matrices: Mapping[str, Kept],
    dtype: str,
    progress: Progress = silent,
    chosen: Chosen | None = None,
) -> list[Rounding]:
    """Rounds ``matrices``, which are all of the decoder's layers by the names of graphs, or none, and keeps each where
    it says; scales are in ``dtype``. Before that what is ``chosen`` becomes zero. The layers of ``reference`` are gone
    afterwards. Raises :class:`CheckpointError` for a weight that is not finite, or whose scale ``dtype`` does not
    hold, and :class:`~clasp_trt.errors.SparsityError` for scores that are not finite."""
    by_layer = _by_layer(matrices, reference)
    found, steps = list[Rounding](), 2 * len(requests)
    for number, kept in enumerate(by_layer):

        def on_step(done: int, number: int = number) -> None:
            progress(f"calibrate layer {number}", number * steps + done, len(by_layer) * steps)

        layer = reference.held(number)
        modules = {name: layer.get_submodule(name) for name in sorted(reference.linears()[number])}
        # before anybody listens: it goes through some of the layer's modules
        attention = [reference.attention(requests[row], number) for row in _attending(requests, chosen)]
        sums = Sums({name: modules[name] for name in kept})
        norms = None if chosen is None else chosen.watch(modules)
        for row in range(len(requests)):
            on_step(row)
            feed = requests[row]
            if attention and norms is not None:
                norms.told(visual_rows(feed), attention[row])
            reference.layer(feed, number)
        grams = dict(sums.take())
        zeros = {} if chosen is None else _zeros(chosen, number, modules, norms)
        for name, gram in grams.items():
            found.append(_round(modules[name], kept[name], gram, dtype, zeros.get(name)))
        for name in zeros.keys() - grams.keys():
            weight = modules[name].weight.detach().masked_fill(zeros[name], 0)
            modules[name].weight = torch.nn.Parameter(weight, requires_grad=False)
        for row in range(len(requests) if number < reference.layers - 1 else 0):
            on_step(len(requests) + row)
            requests.go_on(row, reference.layer(requests[row], number))
        reference.dropped(number)
    return found


def _attending(requests: Requests, chosen: Chosen | None) -> range:
    """The requests of which it counts what their last row attends to: all or none."""
    return range(len(requests) if chosen is not None and chosen.attends else 0)


def _zeros(chosen: Chosen, number: int, modules: Mapping[str, Any], norms: Norms | None) -> dict[str, torch.Tensor]:
    """The masks of the ``modules`` of layer ``number``."""
    if norms is not None:
        norms.close()
    squares = {} if norms is None else norms.squares
    return {
        name: chosen.of(f"layers.{number}.{name}.weight", modules[name].weight, squares.get(name))
        for name in squares or modules  # as they were computed: the first that is not finite is the cause
    }


def _by_layer(matrices: Mapping[str, Kept], reference: Reference) -> list[dict[str, Kept]]:
    """The matrices of each layer by the names of their modules in it, which are all linear layers that it has."""
    found = [dict[str, Kept]() for _ in range(reference.layers)]
    for name, kept in matrices.items():
        place = _LAYER.fullmatch(name)
        assert place is not None, name
        found[int(place[1])][place[2]] = kept
    for number, names in enumerate(reference.linears() if matrices else ()):
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


def _round(module: Any, kept: Kept, gram: torch.Tensor, dtype: str, zeros: torch.Tensor | None = None) -> Rounding:
    """Rounds the weight of ``module`` in place, ``zeros`` of it to 0, and keeps it."""
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
    made = compensated(before, gram, kept.bits, kept.block, getattr(torch, dtype), zeros)
    scales = made.scales.to(torch.float32)
    if not bool(scales.isfinite().all()):
        raise CheckpointError(
            f"the tensor {kept.key} holds {float(before.abs().max()):g}, whose scale is beyond {dtype}; use "
            "--precision bf16 or fp32"
        )
    values, floats = made.values.numpy(), scales.numpy()
    kept.keep(values, floats)
    after = unpacked(kept, dtype, "float32")
    stays = before if zeros is None else before.masked_fill(zeros, 0)
    plain = Rounded(Weight(kept.key, kept.shape, "float32", lambda: stays), kept.bits, kept.block)
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
