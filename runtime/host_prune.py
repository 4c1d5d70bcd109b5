"""A prune stage on the host: the inputs and outputs of a bundle's prune graph, with any method choosing the tokens."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from clasp_trt.bundle import VisionDims
from clasp_trt.methods import Method, View
from clasp_trt.runtime.backends.interface import Backend, Tensor


class HostPrune:
    """Stands where the runner of graph ``prune_<stage>`` stands, for one request.

    Saliency and similarities come to the host, ``method`` chooses, and what it keeps goes back. The image must be one
    run of rows, with nothing before it dropped, which is what prompts are. ``cls_saliency`` is ``[1, tokens]`` of the
    whole image, None where no vision graph gave one: it is then 0 for every token.
    """

    def __init__(
        self,
        method: Method,
        backend: Backend,
        stage: int,
        keep: int,
        vision: VisionDims,
        cls_saliency: NDArray[np.float32] | None,
    ) -> None:
        self._method, self._backend, self._stage, self._keep = method, backend, stage, keep
        columns = vision.image_size // vision.patch_size
        self._grid = -(-vision.tokens // columns), columns
        self._cls_saliency = np.zeros(vision.tokens, np.float32) if cls_saliency is None else cls_saliency[0]

    def __call__(self, inputs: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All outputs of a prune graph that another follows; ``into`` is not used. The method's view ends with it."""
        upload = self._backend.upload
        arrays = {name: self._backend.download(tensor) for name, tensor in inputs.items()}
        visual, positions, gram = arrays["visual_index"], arrays["position_ids"], arrays["gram"][0]
        # positions are original, and every row before the first visual one is text
        places = positions[0, visual] - visual[0]
        kept, is_pivot = self._method.select(
            View(
                saliency=arrays["saliency"][0],
                gram=gram,
                cls_saliency=self._cls_saliency[places],
                places=places,
                grid=self._grid,
                keep=self._keep,
                pivot_count=int(arrays["pivot_count"][0]),
                stage=self._stage,
            )
        )
        if len(kept) != self._method.count(len(visual), self._keep):
            raise RuntimeError(f"method {self._method.name} kept {len(kept)} of {len(visual)} tokens at {self._keep}")
        stays = np.ones(positions.shape[1], dtype=np.bool_)
        stays[np.delete(visual, kept)] = False
        new_row = np.cumsum(stays) - 1
        return {
            "hidden_out": upload(arrays["hidden"][:, stays]),
            "position_ids_out": upload(positions[:, stays]),
            "kept": upload(kept[None]),
            "is_pivot": upload(is_pivot[None]),
            "gram_out": upload(gram[np.ix_(kept, kept)][None]),
            "visual_index_out": upload(new_row[visual[kept]]),
            "reference_index_out": upload(new_row[arrays["reference_index"]]),
        }
