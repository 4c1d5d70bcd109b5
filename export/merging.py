"""The family of one tower that takes squares, tiles whose patches are merged into tokens, and one decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from clasp_trt.bundle import Clips, Layout, Media
from clasp_trt.export import splits
from clasp_trt.export.description import MergingDescription
from clasp_trt.export.parts import Parts
from clasp_trt.export.stills import Film
from clasp_trt.export.tokenizer import Tokenizer
from clasp_trt.export.videos import video_settings

if TYPE_CHECKING:
    import onnx_ir as ir

    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference


class Merging(Parts[MergingDescription]):
    """See :class:`clasp_trt.export.family.Family`, and :class:`~clasp_trt.export.parts.Parts` for the arguments.

    ``layout`` says where the tokens of a picture stand in the prompt, by the tokenizer; the folder is for its errors.
    ``clips`` says how clips are taken, if the tokenizer has a word for them.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        description: MergingDescription,
        layouts: Sequence[tuple[str, str]],
        reference: Callable[[Checkpoint, MergingDescription], Reference],
        layout: Callable[[MergingDescription, Tokenizer, Path], Layout],
        clips: Callable[[Film], Clips | None] = lambda film: None,
    ) -> None:
        self._layout_of, self._clips_of = layout, clips
        super().__init__(checkpoint, description, layouts, reference)

    def _spelled(self, description: MergingDescription) -> MergingDescription:
        """Without clips where template or tokenizer have no word for them, else with as many frames as are taken."""
        root = self._checkpoint.root
        self._layout = layout = self._layout_of(description, self.tokenizer, root)
        film = Film(description, layout, self.tokenizer, video_settings(self._checkpoint), root)
        made = self._clips_of(film) if description.clips else None
        shown = made is not None and made.layout.placeholder in self._template
        self._clips = made if shown else None
        frames = description.frames if self._clips is None else self._clips.sampling.frames
        return replace(description, clips=shown, frames=frames)

    @cached_property
    def media(self) -> Media:
        made = splits.media(self.image_settings, self.description.used, self._layout, self._checkpoint.root)
        return replace(made, images=self.description.images, video=self._clips)

    def vision_graph(self, layers: Sequence[int], dtype: str) -> ir.Model:
        from clasp_trt.export.towers.graph import tower_graph

        return tower_graph(self.description.tower, layers, self._weights(dtype), dtype)

    def projector_graph(self, layers: int, dtype: str) -> ir.Model:
        from clasp_trt.export.projector import merging_projector_graph

        spec, rows = self.description.projector, self.description.tower.tokens
        return merging_projector_graph(spec, layers, rows, self._weights(dtype), dtype)
