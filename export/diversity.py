"""Shares of zeros by diversity: TAMP's diversity-aware sparsity (Lee et al., 2025, arXiv:2504.09897).

A matrix whose outputs differ more between tokens keeps more of its weights: its diversity is 1 less the mean cosine of
visual tokens, the same of the others, and of one with the other, summed, and averaged over requests of the dense
decoder. What all keep beyond the least is shared out by diversity, as in the authors' code: equal parts, in weights and
not in shares, for equal diversity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from clasp_trt.export.choosing import visual_rows
from clasp_trt.export.reference import Reference
from clasp_trt.export.representatives import densities, unit
from clasp_trt.export.requests import Requests
from clasp_trt.progress import Progress, silent
from clasp_trt.sparsity import Sparsity


def diversities(reference: Reference, requests: Requests, progress: Progress = silent) -> dict[str, float]:
    """Of every linear layer of the decoder, by the names of graphs. The requests have gone through all layers after
    that."""
    found, count = dict[str, float](), len(requests)
    for number, names in enumerate(reference.linears()):
        with reference.lent(number) as layer:
            own = _Diversity({f"layers.{number}.{name}.weight": layer.get_submodule(name) for name in sorted(names)})
            for row in range(count):
                progress(f"diversity of layer {number}", number * count + row, reference.layers * count)
                feed = requests[row]
                own.visual = visual_rows(feed)
                requests.go_on(row, reference.layer(feed, number))
            found |= {name: total / count for name, total in own.close().items()}
    return found


class _Diversity:
    """Sums over requests of the diversity of what leaves ``modules``."""

    def __init__(self, modules: Mapping[str, Any]) -> None:
        self.visual: Any = None
        self._found = dict.fromkeys(modules, 0.0)
        self._hooks = [module.register_forward_hook(self._hook(name)) for name, module in modules.items()]

    def close(self) -> dict[str, float]:
        for hook in self._hooks:
            hook.remove()
        return self._found

    def _hook(self, name: str) -> Any:
        def gather(_: Any, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
            rows = unit(made.detach().reshape(-1, made.shape[-1]).numpy())
            self._found[name] += sum(1 - each for each in densities(rows @ rows.T, self.visual))

        return gather


def shares(diversity: Mapping[str, float], sizes: Mapping[str, int], sparsity: Sparsity) -> dict[str, float]:
    """The share of zeros of each matrix, of ``sizes`` weights, so that all together have what is asked for and none
    more than :attr:`~clasp_trt.sparsity.Sparsity.most`."""
    kept = {name: (1 - float(sparsity.most)) * size for name, size in sizes.items()}
    rest = (1 - float(sparsity.share)) * sum(sizes.values()) - sum(kept.values())
    open_to = {name: max(diversity[name], 0.0) for name in sizes}
    while rest > 0.5 and open_to:
        whole = sum(open_to.values())
        parts = {name: rest * (value / whole if whole else 1 / len(open_to)) for name, value in open_to.items()}
        rest = 0.0
        for name, part in parts.items():
            taken = min(part, sizes[name] - kept[name])
            kept[name] += taken
            rest += part - taken
        open_to = {name: value for name, value in open_to.items() if kept[name] < sizes[name]}
    return {name: 1 - kept[name] / size for name, size in sizes.items()}
