"""The family of one tower that takes squares, a projector of linear layers, and one decoder.

What differs between such families is their config, where the weights lie, and what transformers calls the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from clasp_trt.bundle import Media
from clasp_trt.export.description import SquareDescription
from clasp_trt.export.media import squares, tiles
from clasp_trt.export.parts import Parts

if TYPE_CHECKING:
    import onnx_ir as ir


class Standard(Parts[SquareDescription]):
    """See :class:`clasp_trt.export.family.Family`."""

    @cached_property
    def media(self) -> Media:
        tower, tiling = self.description.tower, self.description.tiling
        id, root = self.description.image_token_id, self._checkpoint.root
        if tiling is not None:
            made = tiles(self.image_settings, tiling, self._token, id, root)
        else:
            made = squares(self.image_settings, tower.image_size, tower.patch_size, self._token, id, root)
        return replace(made, images=self.description.images)

    def vision_graph(self, layers: Sequence[int], dtype: str) -> ir.Model:
        from clasp_trt.export.towers.graph import tower_graph

        return tower_graph(self.description.tower, layers, self._weights(dtype), dtype)

    def projector_graph(self, layers: int, dtype: str) -> ir.Model:
        from clasp_trt.export.projector import packing_projector_graph, projector_graph

        spec, rows, tiling = self.description.projector, self.description.tower.tokens, self.description.tiling
        if tiling is None:
            return projector_graph(spec, layers, rows, self._weights(dtype), dtype)
        mixes = tiling.limit is not None
        return packing_projector_graph(spec, layers, rows, self._weights(dtype), dtype, mixes=mixes)
