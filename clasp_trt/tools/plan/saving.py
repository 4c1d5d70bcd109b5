"""Bytes that rounded weights are smaller than floats by, part by part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from clasp_trt.chain import Cut, names
from clasp_trt.export.description import Description
from clasp_trt.quantization import DECODER, EMBEDDING, HEAD, PROJECTOR, VISION, Scheme


@dataclass(frozen=True)
class Saving:
    """Bytes less than as floats: of the tower, the projector, the embedding, one layer of the decoder, and its head."""

    vision: int
    projector: int
    embedding: int
    layer: int
    head: int

    @classmethod
    def of(cls, model: Description, item: int) -> Saving:
        """That of ``model`` by its :attr:`~clasp_trt.export.description.Description.integers`, where a float, such
        as a scale, takes ``item`` bytes."""
        decoder, table = model.decoder, ((model.decoder.vocab_size, model.decoder.width),)
        shapes = {
            VISION: model.tower.built_shapes,
            PROJECTOR: model.projector.shapes,
            EMBEDDING: table,
            DECODER: decoder.layer_shapes,
            HEAD: table,
        }
        integers = model.integers
        return cls(*(_saved(each, integers.of(part), item) for part, each in shapes.items()))

    def graph(self, name: str, cuts: Iterable[Cut], layers: int) -> int:
        """Of a graph; the decoder has ``layers`` layers."""
        for cut in cuts:
            if cut.name == name:
                return self.segment(cut.first, cut.last, layers)
        same = {names.VISION: self.vision, names.PROJECTOR: self.projector, names.EMBED: self.embedding}
        return {**same, names.VISION_VIDEO: self.vision, names.PROJECTOR_VIDEO: self.projector}.get(name, 0)

    def segment(self, first: int, last: int, layers: int) -> int:
        """Of the decoder's layers ``first`` to ``last`` (inclusive) of ``layers``, the last with the head."""
        return (last - first + 1) * self.layer + (self.head if last == layers - 1 else 0)


def _saved(shapes: Iterable[tuple[int, int]], scheme: Scheme | None, item: int) -> int:
    if scheme is None:
        return 0
    return sum(outputs * inputs * item - scheme.nbytes(outputs, inputs, item) for outputs, inputs in shapes)
