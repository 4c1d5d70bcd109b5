"""The family of one tower that takes squares, a projector of linear layers, and one decoder.

What differs between such families is their config, where the weights lie, and what transformers calls the parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from clasp_trt.bundle import Clips, Media
from clasp_trt.chain import names
from clasp_trt.export import videos
from clasp_trt.export.description import SquareDescription
from clasp_trt.export.media import several, squares, tiles
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
        images, apart = self.description.images, None
        if images > 1 and self.description.apart:
            apart = several(self.image_settings, made.image.processor, root)
        return replace(made, images=images, video=self._clips(), several=apart)

    def _clips(self) -> Clips | None:
        film, root = self.description.film, self._checkpoint.root
        if film is None:
            return None
        settings, token = videos.video_settings(self._checkpoint), self.tokenizer.added[film.token]
        return videos.stills(settings, film, self.description.frames_taken, token, root)

    def _spelled(self, description: SquareDescription) -> SquareDescription:
        """With as many frames as the video settings say, and without clips if template or tokenizer have none."""
        film = description.film
        if film is None:
            return description
        if self.tokenizer.added.get(film.token, "\n") not in self._template:
            return replace(description, film=None)
        usual = videos.usual_frames(videos.video_settings(self._checkpoint), film.usual, self._checkpoint.root)
        return replace(description, film=replace(film, usual=usual))

    def vision_graph(self, layers: Sequence[int], dtype: str) -> ir.Model:
        from clasp_trt.export.towers.graph import tower_graph

        return tower_graph(self.description.tower, layers, self._weights(dtype), dtype)

    def clip_graphs(self, layers: Sequence[int], dtype: str) -> Iterator[tuple[str, ir.Model]]:
        from clasp_trt.export.projector import mean_projector_graph, projector_graph
        from clasp_trt.export.towers.graph import tower_graph

        film, spec, weights = self.description.film, self.description.projector, self._weights(dtype)
        if film is None or film.mixed is not None:
            return
        if film.own:
            yield names.VISION_VIDEO, tower_graph(film.tower, layers, self._weights(dtype, "video."), dtype)
        rows = film.tower.tokens
        if film.pool > 1:
            yield names.PROJECTOR_VIDEO, mean_projector_graph(spec, len(layers), rows, film.pool, weights, dtype)
        else:
            yield names.PROJECTOR_VIDEO, projector_graph(spec, len(layers), rows, weights, dtype)

    def projector_graph(self, layers: int, dtype: str) -> ir.Model:
        from clasp_trt.export.projector import packing_projector_graph, projector_graph

        spec, rows, tiling = self.description.projector, self.description.tower.given, self.description.tiling
        if tiling is None:
            return projector_graph(spec, layers, rows, self._weights(dtype), dtype)
        mixes = tiling.limit is not None
        return packing_projector_graph(spec, layers, rows, self._weights(dtype), dtype, mixes=mixes)
