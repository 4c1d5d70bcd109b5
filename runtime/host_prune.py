"""Prune stages on the host: inputs and outputs of a bundle's prune graphs, with any method choosing the tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clasp_trt.chain import port
from clasp_trt.methods import Method, View
from clasp_trt.runtime.backends.interface import Backend, Runner, Tensor
from clasp_trt.runtime.text.visible import narrowed


class HostPrune:
    """Stands where the prune graphs stand, for one request: :attr:`runners`, one a stage, which run in their order.

    What its graphs give of saliency and similarities comes to the host, ``method`` chooses, and what it keeps goes
    back; what they do not give is 0, and no method that reads it gets here. ``keeps`` is how many tokens each stage
    keeps, ``pivot_counts`` how many of them CLASP would as pivots. ``boxes`` is float32 ``[tokens, 4]``, see
    :class:`clasp_trt.methods.View`. ``cls_saliency`` is ``[1, tokens]`` of all visual tokens, None where no vision
    graph gave one: it is then 0 for every token.
    """

    def __init__(
        self,
        method: Method,
        backend: Backend[Tensor],
        keeps: Sequence[int],
        pivot_counts: Sequence[int],
        boxes: NDArray[np.float32],
        cls_saliency: NDArray[np.float32] | None,
    ) -> None:
        self._method, self._backend, self._boxes = method, backend, boxes
        self._keeps, self._pivot_counts = keeps, pivot_counts
        self._extent = extent(boxes)
        self._cls_saliency = np.zeros(len(boxes), np.float32) if cls_saliency is None else cls_saliency[0]
        self._left = np.arange(len(boxes))  # the visual tokens that earlier stages left
        self.runners: list[Runner[Tensor]] = [partial(self._prune, stage) for stage in range(len(keeps))]

    def _prune(self, stage: int, inputs: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All outputs of a prune graph that another follows; ``into`` is not used. The method's view ends with it."""
        upload = self._backend.upload
        arrays = {name: self._backend.download(tensor) for name, tensor in inputs.items()}
        visual, positions = arrays[port.VISUAL_INDEX], arrays[port.POSITION_IDS]
        tokens = len(visual)
        gram = arrays[port.GRAM][0] if port.GRAM in arrays else np.zeros((tokens, tokens), np.float32)
        saliency = arrays[port.SALIENCY][0] if port.SALIENCY in arrays else np.zeros(tokens, np.float32)
        kept, is_pivot = self._method.select(
            View(
                saliency=saliency,
                gram=gram,
                cls_saliency=self._cls_saliency[self._left],
                boxes=self._boxes[self._left],
                extent=self._extent,
                keep=self._keeps[stage],
                pivot_count=self._pivot_counts[stage],
                stage=stage,
            )
        )
        if len(kept) != self._method.count(len(visual), self._keeps[stage]):
            raise RuntimeError(
                f"method {self._method.name} kept {len(kept)} of {len(visual)} tokens at {self._keeps[stage]}"
            )
        self._left = self._left[kept]
        stays = np.ones(positions.shape[-1], dtype=np.bool_)
        stays[np.delete(visual, kept)] = False
        new_row = np.cumsum(stays) - 1
        stacked = arrays.get(port.DEEPSTACK)
        added: dict[str, Tensor] = {} if stacked is None else {port.out(port.DEEPSTACK): upload(stacked[:, kept])}
        if port.VISIBLE in arrays:
            added[port.out(port.VISIBLE)] = upload(narrowed(arrays[port.VISIBLE], stays))
        if port.GRAM in arrays:
            added[port.out(port.GRAM)] = upload(gram[np.ix_(kept, kept)][None])
        if port.CLS_SALIENCY in arrays:
            added[port.out(port.CLS_SALIENCY)] = upload(arrays[port.CLS_SALIENCY][:, kept])
        if port.REFERENCE_INDEX in arrays:
            added[port.out(port.REFERENCE_INDEX)] = upload(new_row[arrays[port.REFERENCE_INDEX]])
        return {
            **added,
            port.HIDDEN_OUT: upload(arrays[port.HIDDEN][:, stays]),
            port.out(port.POSITION_IDS): upload(positions[..., stays]),
            port.KEPT: upload(kept[None]),
            port.IS_PIVOT: upload(is_pivot[None]),
            port.out(port.VISUAL_INDEX): upload(new_row[visual[kept]]),
        }


def extent(boxes: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what ``boxes`` cover together; all 0 where none has a place."""
    placed = boxes[~np.isnan(boxes).any(axis=1)].astype(np.float64)
    if not len(placed):
        return 0.0, 0.0, 0.0, 0.0
    (left, top), (right, bottom) = placed[:, :2].min(axis=0), placed[:, 2:].max(axis=0)
    return float(left), float(top), float(right), float(bottom)
