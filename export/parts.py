"""What families of one tower, one projector and one decoder have in common, whatever the tower takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeVar

from clasp_trt.bundle import ModelInfo
from clasp_trt.errors import CheckpointError
from clasp_trt.export import assets
from clasp_trt.export.description import Description
from clasp_trt.export.media import image_settings
from clasp_trt.export.tokenizer import Tokenizer
from clasp_trt.quantization import DECODER, HEAD, Quantization, Scheme

if TYPE_CHECKING:
    import onnx_ir as ir

    from clasp_trt.export.checkpoint import Checkpoint
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.weights.graph import Weights
    from clasp_trt.export.weights.kept import Kept
    from clasp_trt.export.weights.masks import KeptMask, Zeros
    from clasp_trt.export.weights.stored import Tensors
    from clasp_trt.sparsity import Sparsity


_BUFFERS = ("rotary_emb.inv_freq", "position_ids")
"""Constants that old files hold beside their weights, and every library computes anew."""
_PARTS = ("weight", "bias")
"""What linear layers and norms consist of."""
_RAISED = r"decoder\.(.*[._])?norm\.weight|decoder\..*_layernorm\.weight|projector\.mm_soft_emb_norm\.weight"
"""RMSNorms, where they multiply by 1 more than what is stored; others are LayerNorms."""


Described = TypeVar("Described", bound=Description)


class Parts(Generic[Described]):
    """Most of a :class:`clasp_trt.export.family.Family`: all but its media and the graphs before the decoder.

    ``layouts`` are the rules of :func:`~clasp_trt.export.weights.transforms.renamed` from names on disk to ``tower.``,
    ``projector.linear_1`` and so on, and ``decoder.``; below these stand transformers' own names. ``reference`` makes
    what :meth:`reference` returns. Raises :class:`CheckpointError` if there is no chat template, or if the tokenizer
    lacks the image's token.
    """

    beyond_vocabulary = False
    """Whether the image's token may have an id that the embedding lacks."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        description: Described,
        layouts: Sequence[tuple[str, str]],
        reference: Callable[[Checkpoint, Described], Reference],
    ) -> None:
        self._checkpoint, self._layouts, self._reference = checkpoint, layouts, reference
        vocabulary, stops = description.decoder.vocab_size, assets.stop_tokens(checkpoint)
        if beyond := [id for id in stops if id >= vocabulary]:
            raise CheckpointError(
                f"{checkpoint.root}: eos_token_id {beyond[0]} is outside the decoder's vocabulary of {vocabulary}; "
                "take the files that belong to the checkpoint"
            )
        self._template = self._read_template()
        self.tokenizer = self._read_tokenizer()
        known = None if self.beyond_vocabulary else vocabulary
        self._token = assets.image_token(self.tokenizer, description.image_token_id, known)
        self.description = description = self._spelled(description)
        self.info = ModelInfo(
            model_type=description.model_type,
            name=description.name,
            vision=description.tower.dims,
            tokens=description.tokens,
            decoder=description.decoder.dims,
            stop_token_ids=stops,
            source=checkpoint.source,
        )
        self._read: set[str] = set()

    def _spelled(self, description: Described) -> Described:
        """``description`` without what tokenizer and template have no words for."""
        return description

    def _read_template(self) -> str:
        return assets.chat_template(self._checkpoint)

    def _read_tokenizer(self) -> Tokenizer:
        return Tokenizer.of(self._checkpoint)

    @cached_property
    def image_settings(self) -> Mapping[str, object]:
        return image_settings(self._checkpoint)

    def clip_graphs(self, layers: Sequence[int], dtype: str) -> Iterator[tuple[str, ir.Model]]:
        return iter(())  # clips go through those of pictures

    def decoder_weights(self, dtype: str) -> Weights:
        return self._weights(dtype, "decoder.")

    def nbytes(self, dtype: str) -> int:
        return self._weights(dtype).nbytes("")

    @property
    def embedding_scale(self) -> float | None:
        """The root of the width in the type of the checkpoint's weights, which is what the model was trained with."""
        if not self.description.decoder.scales_embedding:
            return None
        from clasp_trt.export.decoder.gemma import embedding_scale

        stored = self._tensors["decoder.embed_tokens.weight"].dtype
        return embedding_scale(self.description.decoder.width, stored)

    def chat_template(self) -> str:
        return self._template

    def unread(self) -> tuple[str, ...]:
        return tuple(
            weight.key
            for name, weight in self._tensors.items()
            if name not in self._read and not name.endswith(_BUFFERS) and self._is_near(name)
        )

    def _is_near(self, name: str) -> bool:
        """Whether a tensor belongs to what was read: of a tower its deeper blocks and its head are left out on purpose,
        but a module that is read is read whole."""
        module, _, kind = name.rpartition(".")
        parts = (f"{module}.{part}" for part in _PARTS)
        return not name.startswith(("tower.", "video.tower.")) or (kind in _PARTS and not self._read.isdisjoint(parts))

    @property
    def quantization(self) -> Quantization:
        from clasp_trt.export.weights.held import schemes
        from clasp_trt.export.weights.rounding import part_of

        found = dict[str, Scheme]()
        for name, scheme in schemes(self._tensors):
            if part := part_of(name):
                found[part] = min(found.get(part, scheme), scheme, key=lambda each: each.bits)
        return self.description.quantization.beside(Quantization(MappingProxyType(found)))

    def reference(self) -> Reference:
        return self._reference(self._checkpoint, self.description)

    def _stays_fp8(self, name: str) -> bool:
        """Whether a matrix of FP8 is one in the graphs as well: what multiplies by it can, and no rounding was asked
        for."""
        from clasp_trt.export.weights.rounding import part_of

        part = part_of(name)
        return self.description.fp8 and part in (DECODER, HEAD) and self.description.quantization.of(part) is None

    def _weights(self, dtype: str, prefix: str = "") -> Weights:
        from clasp_trt.export.weights.graph import Weights
        from clasp_trt.export.weights.transforms import cast

        return Weights(cast(self._rounded, dtype), prefix, read=self._read, rules=self._layouts)

    def sparse(self, sparsity: Sparsity, folder: Path | None) -> Mapping[str, KeptMask]:
        from clasp_trt.export.weights.masks import ByMagnitude, KeptMask, masked, matrices

        found = {name: weight.shape for name, weight in matrices(self._tensors, sparsity)}
        start = "decoder."
        kept = {
            name: KeptMask(folder or Path(), name.removeprefix(start), (outputs, inputs))
            for name, (outputs, inputs) in found.items()
        }
        zeros: Mapping[str, Zeros] = kept if folder is not None else dict.fromkeys(kept, ByMagnitude(sparsity))
        self._tensors = masked(self._tensors, zeros)
        self.__dict__.pop("_rounded", None)  # made anew of these
        return {name.removeprefix(start): each for name, each in kept.items()}

    def calibrated_in(self, folder: Path) -> Mapping[str, Kept]:
        from clasp_trt.export.weights.kept import Kept
        from clasp_trt.export.weights.rounding import Rounded, part_of

        found, start = dict[str, Kept](), "decoder."
        tensors = dict(self._rounded)
        for name, weight in tensors.items():
            plain, own = weight.packing, name.removeprefix(start)
            if part_of(name) == DECODER and isinstance(plain, Rounded):
                found[own] = Kept(folder, own, plain.key, plain.shape, plain.bits, plain.block)
                tensors[name] = replace(weight, packing=found[own])
        self._rounded = tensors
        return found

    @cached_property
    def _rounded(self) -> Tensors:
        from clasp_trt.export.weights.rounding import rounded

        quantization = self.description.quantization
        return rounded(self._tensors, quantization) if quantization else self._tensors

    @cached_property
    def _tensors(self) -> Tensors:
        from clasp_trt.export.weights import formats, held
        from clasp_trt.export.weights.fp8 import as_floats
        from clasp_trt.export.weights.names import refuse_wrapped
        from clasp_trt.export.weights.stored import stored
        from clasp_trt.export.weights.transforms import raised, renamed, tied

        found = formats.read(stored(self._checkpoint), self._checkpoint)
        refuse_wrapped(found, self._layouts, self._checkpoint.root)
        tensors: Tensors = renamed(found, self._layouts)
        if self.description.decoder.tied:
            tensors = tied(tensors, "decoder.lm_head.weight", "decoder.embed_tokens.weight")
        tensors = as_floats(tensors, self._stays_fp8, str(self._checkpoint.root))
        tensors = held.looked_up(tensors, "decoder.embed_tokens.weight")
        return raised(tensors, _RAISED) if self.description.decoder.norm_offset else tensors
