"""Which weights of a layer become zero, by what enters and leaves its linear layers while requests go through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clasp_trt.chain import port
from clasp_trt.errors import SparsityError
from clasp_trt.export.reference import Arrays
from clasp_trt.export.representatives import representatives
from clasp_trt.export.weights.masks import KeptMask, mask
from clasp_trt.sparsity import MAGNITUDE, TAMP, Sparsity

Hook = Callable[[Any, tuple[torch.Tensor, ...], torch.Tensor], None]


def visual_rows(feed: Arrays) -> NDArray[np.bool_]:
    """Which rows of a request are visual tokens, ``[rows]``."""
    found = np.zeros(feed[port.HIDDEN].shape[1], bool)
    found[feed[port.VISUAL_INDEX]] = True
    return found


class Norms:
    """Squared lengths, float64 ``[inputs]``, of each input of linear ``modules`` over the rows that enter from now on:
    all of them, or with ``stand`` those that :func:`~clasp_trt.export.representatives.representatives` takes by what
    leaves the module, of the request that was :meth:`told`."""

    def __init__(self, modules: Mapping[str, Any], *, stand: bool) -> None:
        self.squares: dict[str, torch.Tensor] = {}
        self._stand, self._visual = stand, np.zeros(0, bool)
        self._attention: NDArray[np.floating] = np.zeros(0)
        self._hooks = [module.register_forward_hook(self._hook(name)) for name, module in modules.items()]

    def told(self, visual: NDArray[np.bool_], attention: NDArray[np.floating]) -> None:
        """The next request has these ``visual`` rows, to all of which its last pays ``attention`` ``[rows]``."""
        self._visual, self._attention = visual, attention

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _hook(self, name: str) -> Hook:
        def gather(_: Any, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
            rows = given[0].detach().reshape(-1, given[0].shape[-1])
            if self._stand:
                outputs = made.detach().reshape(len(rows), -1).numpy()
                rows = rows[torch.from_numpy(representatives(outputs, self._visual, self._attention))]
            squares = rows.to(torch.float64).square().sum(0)
            self.squares[name] = self.squares[name] + squares if name in self.squares else squares

        return gather


class Chosen:
    """What becomes zero of the decoder's matrices, by the names of graphs: masks are left with those of ``kept``, and
    ``zeros`` are counted. ``shares`` are those of matrices that differ from what ``sparsity`` asks."""

    def __init__(
        self,
        sparsity: Sparsity,
        kept: Mapping[str, KeptMask],
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self.zeros = 0
        self._sparsity, self._kept, self._shares = sparsity, kept, shares or {}

    @property
    def attends(self) -> bool:
        """Whether it takes what rows pay attention to."""
        return self._sparsity.scores == TAMP

    def watch(self, modules: Mapping[str, Any]) -> Norms | None:
        """What gathers of ``modules`` what :meth:`of` needs; None if that is nothing."""
        return None if self._sparsity.scores == MAGNITUDE else Norms(modules, stand=self.attends)

    def of(self, name: str, weight: torch.Tensor, squares: torch.Tensor | None) -> torch.Tensor:
        """The mask of a matrix, ``weight`` ``[outputs, inputs]``, by the ``squares`` of its inputs. Raises
        :class:`SparsityError` for what is not finite."""
        scores = scored(weight, squares)
        if not bool(scores.isfinite().all()):
            raise SparsityError(
                f"--sparsity {self._sparsity.asked}: the matrix {name} of the decoder, or what enters it for these "
                "questions, is not finite; take a sound copy of the checkpoint, or drop --sparsity"
            )
        found = mask(scores, self._sparsity, self._shares.get(name))
        self.zeros += int(found.sum())
        if name in self._kept:
            self._kept[name].keep(found)
        return found


def scored(weight: torch.Tensor, squares: torch.Tensor | None) -> torch.Tensor:
    """``|W| ||X||``, float64 ``[outputs, inputs]`` (Sun et al., 2023, arXiv:2306.11695), ``squares`` being those of
    the norms; magnitudes without."""
    sizes = weight.detach().to(torch.float64).abs()
    return sizes if squares is None else sizes * squares.sqrt()
