"""The family of one tower that takes squares, tiles whose patches are merged into tokens, and one decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from clasp_trt.bundle import Layout, Media
from clasp_trt.export import splits
from clasp_trt.export.description import MergingDescription
from clasp_trt.export.parts import Parts
from clasp_trt.export.tokenizer import Tokenizer

if TYPE_CHECKING:
    import onnx_ir as ir

    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference


class Merging(Parts[MergingDescription]):
    """See :class:`clasp_trt.export.family.Family`, and :class:`~clasp_trt.export.parts.Parts` for the arguments.

    ``layout`` says where the tokens of a picture stand in the prompt, by the tokenizer; the folder is for its errors.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        description: MergingDescription,
        layouts: Sequence[tuple[str, str]],
        reference: Callable[[Checkpoint, MergingDescription], Reference],
        layout: Callable[[MergingDescription, Tokenizer, Path], Layout],
    ) -> None:
        super().__init__(checkpoint, description, layouts, reference)
        self._layout = layout(description, self.tokenizer, checkpoint.root)

    @cached_property
    def media(self) -> Media:
        made = splits.media(self.image_settings, self.description.used, self._layout, self._checkpoint.root)
        return replace(made, images=self.description.images)

    def vision_graph(self, layers: Sequence[int], dtype: str) -> ir.Model:
        from clasp_trt.export.towers.graph import tower_graph

        return tower_graph(self.description.tower, layers, self._weights(dtype), dtype)

    def projector_graph(self, layers: int, dtype: str) -> ir.Model:
        from clasp_trt.export.projector import merging_projector_graph

        spec, rows = self.description.projector, self.description.tower.tokens
        return merging_projector_graph(spec, layers, rows, self._weights(dtype), dtype)
