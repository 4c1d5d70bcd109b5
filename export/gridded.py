"""The family of one tower that takes a grid of patches of any size, a projector that merges them, and one decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from clasp_trt.bundle import Clips, Grid, Media
from clasp_trt.export import videos
from clasp_trt.export.description import GridDescription
from clasp_trt.export.grids import grids
from clasp_trt.export.media import image_settings
from clasp_trt.export.parts import Parts

if TYPE_CHECKING:
    import onnx_ir as ir

    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.weights.stored import Tensors


class Gridded(Parts[GridDescription]):
    """See :class:`clasp_trt.export.family.Family`. How large pictures are is the image processor's to say."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        description: GridDescription,
        layouts: Sequence[tuple[str, str]],
        reference: Callable[[Checkpoint, GridDescription], Reference],
        video_kind: videos.Kind,
    ) -> None:
        self._videos = video_kind
        super().__init__(checkpoint, description.sized(image_settings(checkpoint), checkpoint.root), layouts, reference)

    @cached_property
    def media(self) -> Media:
        tower, id = self.description.tower, self.description.image_token_id
        root = self._checkpoint.root
        rate = self.description.rate
        made = grids(self.image_settings, tower.patching, tower.time, tower.table, rate, self._token, id, root)
        grid = made.image.processor
        assert isinstance(grid, Grid)
        return replace(made, images=self.description.images, video=self._clips(grid))

    def _clips(self, grid: Grid) -> Clips | None:
        id, tokens, root = self.description.video, self.description.clip_tokens, self._checkpoint.root
        if id is None or tokens is None:
            return None
        settings, kind = videos.video_settings(self._checkpoint), self._videos
        film = videos.filming(settings, grid, kind, tokens[1], root)
        taken = videos.sampling(settings, kind, film, self.description.frames, root)
        return videos.pairs(settings, grid, kind, film, taken, self.tokenizer.added[id], id, root)

    def _spelled(self, description: GridDescription) -> GridDescription:
        token = None if description.video is None else self.tokenizer.added.get(description.video)
        return description if token is not None and token in self._template else replace(description, video=None)

    def vision_graph(self, layers: Sequence[int], dtype: str) -> ir.Model:
        from clasp_trt.export.towers.grid_graph import grid_graph

        return grid_graph(self.description.tower, layers, self._weights(dtype), dtype)

    def projector_graph(self, layers: int, dtype: str) -> ir.Model:
        from clasp_trt.export.merger import merger_graph

        return merger_graph(self.description.projector, layers, self._weights(dtype), dtype)

    @cached_property
    def _tensors(self) -> Tensors:
        from clasp_trt.export.weights.transforms import flattened

        return flattened(super()._tensors, "tower.patch_embed.proj.weight")
