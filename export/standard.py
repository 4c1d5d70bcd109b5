"""The family of one tower, a projector of linear layers, and one decoder.

What differs between such families is their config, where the weights lie, and what transformers calls the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from clasp_trt.bundle import Media, ModelInfo
from clasp_trt.export import assets
from clasp_trt.export.media import squares

if TYPE_CHECKING:
    import onnx_ir as ir

    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.description import Description
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.weights.graph import Weights
    from clasp_trt.export.weights.stored import Tensors


class Standard:
    """See :class:`clasp_trt.export.family.Family`.

    ``layouts`` are the rules of :func:`~clasp_trt.export.weights.transforms.renamed` from names on disk to ``tower.``,
    ``projector.linear_1`` and so on, and ``decoder.``; below these stand transformers' own names. ``reference`` makes
    what :meth:`reference` returns. Raises :class:`CheckpointError` if the tokenizer lacks the image's token.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        description: Description,
        layouts: Sequence[tuple[str, str]],
        reference: Callable[[Checkpoint, Description], Reference],
    ) -> None:
        self._checkpoint, self._layouts, self._reference = checkpoint, layouts, reference
        self.description = description
        self.info = ModelInfo(
            model_type=description.model_type,
            name=description.name,
            vision=description.tower.dims,
            tokens=(description.tower.tokens,) * 3,
            decoder=description.decoder.dims,
            stop_token_ids=assets.stop_tokens(checkpoint, description.stop_token_ids),
        )
        self._token = assets.image_token(checkpoint, description.image_token_id, description.decoder.vocab_size)

    @cached_property
    def media(self) -> Media:
        tower = self.description.tower
        id = self.description.image_token_id
        return squares(self._checkpoint, tower.image_size, tower.patch_size, self._token, id)

    def vision_graph(self, layers: Sequence[int], dtype: str) -> ir.Model:
        from clasp_trt.export.towers.graph import tower_graph

        return tower_graph(self.description.tower, layers, self._weights(dtype), dtype)

    def projector_graph(self, layers: int, dtype: str) -> ir.Model:
        from clasp_trt.export.projector import projector_graph

        spec, tokens = self.description.projector, self.description.tower.tokens
        return projector_graph(spec, layers, tokens, self._weights(dtype), dtype)

    def decoder_weights(self, dtype: str) -> Weights:
        return self._weights(dtype, "decoder.")

    def chat_template(self) -> str:
        return assets.chat_template(self._checkpoint)

    def reference(self) -> Reference:
        return self._reference(self._checkpoint, self.description)

    def _weights(self, dtype: str, prefix: str = "") -> Weights:
        from clasp_trt.export.weights.graph import Weights
        from clasp_trt.export.weights.transforms import cast

        return Weights(cast(self._tensors, dtype), prefix)

    @cached_property
    def _tensors(self) -> Tensors:
        from clasp_trt.export.weights.stored import stored
        from clasp_trt.export.weights.transforms import renamed, tied

        tensors = renamed(stored(self._checkpoint), self._layouts)
        if self.description.decoder.tied:
            tensors = tied(tensors, "decoder.lm_head.weight", "decoder.embed_tokens.weight")
        return tensors
