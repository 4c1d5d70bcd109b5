"""What a model family gives the tools, and how families are found.

A family is a module of :mod:`clasp_trt.export.models` named after the ``model_type`` of its checkpoints. It has two
functions: ``describe(config, name) -> Description``, which needs no torch, transformers or ONNX, and
``family(checkpoint, description) -> Family``. Adding one touches nothing else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from clasp_trt.errors import CheckpointError
from clasp_trt.export import models
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.config import AUTHORS, CONFIG, Settings
from clasp_trt.export.description import Description
from clasp_trt.export.media import has_image_settings, image_settings
from clasp_trt.export.quantised import held
from clasp_trt.quantization import UNROUNDED, Quantization
from clasp_trt.storage.foreign import read_object
from clasp_trt.thinning import AskedThinning

if TYPE_CHECKING:
    import onnx_ir as ir

    from clasp_trt.bundle import Media, ModelInfo
    from clasp_trt.export.reference import Reference
    from clasp_trt.export.tokenizer import Tokenizer
    from clasp_trt.export.weights.graph import Weights
    from clasp_trt.export.weights.kept import Kept
    from clasp_trt.export.weights.masks import KeptMask
    from clasp_trt.sparsity import Sparsity


class Family(Protocol):
    """One checkpoint, seen as the parts that a bundle is made of."""

    @property
    def description(self) -> Description: ...

    @property
    def info(self) -> ModelInfo:
        """What the manifest says of the model."""

    @property
    def media(self) -> Media:
        """How it takes pictures, and how many, which the description says. Raises :class:`CheckpointError` for a
        processor that a runtime does not know."""

    @property
    def image_settings(self) -> Mapping[str, object]:
        """Those of the image processor, as :attr:`media` was made of them."""

    def vision_graph(self, layers: Sequence[int], dtype: str) -> ir.Model:
        """``pixel_values`` to the hidden states of ``layers`` and the saliency of the patches."""

    def projector_graph(self, layers: int, dtype: str) -> ir.Model:
        """Hidden states of ``layers`` layers and their weights ``alpha`` to visual tokens of decoder width."""

    def clip_graphs(self, layers: Sequence[int], dtype: str) -> Iterator[tuple[str, ir.Model]]:
        """Those of the two that clips have of their own, of :data:`~clasp_trt.chain.names.OF_CLIPS` in this order."""

    def decoder_weights(self, dtype: str) -> Weights:
        """Weights named ``layers.N...``, ``norm``, ``embed_tokens`` and ``lm_head``; tied ones are one tensor."""

    @property
    def embedding_scale(self) -> float | None:
        """What embedded text is multiplied by, if by anything."""

    def nbytes(self, dtype: str) -> int:
        """Bytes of the weights that the checkpoint stores, as graphs hold them; tied ones count as often as these."""

    def chat_template(self) -> str:
        """The Jinja template that turns messages into a prompt."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer as transformers loads it."""

    @property
    def quantization(self) -> Quantization:
        """The parts whose matrices are integers, rounded or held so by the checkpoint: where these differ in a part,
        the narrowest. Raises :class:`CheckpointError`."""

    def sparse(self, sparsity: Sparsity, folder: Path | None) -> Mapping[str, KeptMask]:
        """Graphs made from now on hold the matrices of the decoder's layers with the zeros of ``sparsity``: by the
        masks that lie in ``folder`` when the graphs are written, which who calls this puts there, by their names in the
        graph; without one, those of the least magnitudes. To be called before :meth:`calibrated_in`. Raises
        :class:`~clasp_trt.errors.SparsityError` for matrices that cannot be so."""

    def calibrated_in(self, folder: Path) -> Mapping[str, Kept]:
        """Graphs made from now on hold the matrices of the decoder's layers, those that are rounded, as they lie in
        ``folder`` when the graphs are written: who calls this puts each there, by its name in the graph."""

    def unread(self) -> tuple[str, ...]:
        """Tensors, by their names on disk, that belong to what the graphs made so far hold, and that none of them
        asked for."""

    def reference(self) -> Reference:
        """The checkpoint's own modules in torch, which a bundle is verified against."""


def supported() -> tuple[str, ...]:
    """The ``model_type`` of every family."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(models.__path__)))


def family_of(
    checkpoint: Checkpoint,
    most_tokens: int | None = None,
    images: int = 1,
    frames: int | None = None,
    quantization: Quantization = UNROUNDED,
    thinning: AskedThinning | None = None,
    fp8: bool = False,
) -> Family:
    """The family of a checkpoint, its pictures :meth:`~clasp_trt.export.description.Description.capped` to
    ``most_tokens``, for requests with up to ``images`` of them or a clip of up to ``frames`` frames, and graphs of
    weights rounded by ``quantization``, whose tower drops patches by ``thinning``, and whose
    decoder has in FP8 what the checkpoint has, if ``fp8``. Raises :class:`CheckpointError` if
    there is none, and :class:`~clasp_trt.errors.ScheduleError` for a tower that cannot."""
    description = describe(checkpoint.config, str(checkpoint.root / "config.json"), checkpoint.name)
    description = replace(description.capped(most_tokens), images=images, frames=frames, fp8=fp8)
    description = description.rounded(quantization).thinned(thinning)
    family: Family = _module(description.model_type).family(checkpoint, description)
    return family


def read_description(path: Path, name: str) -> Description:
    """The description of the model ``name`` whose ``config.json`` lies at ``path``. Raises :class:`CheckpointError`."""
    return describe(read_object(path, CheckpointError, "download the file again"), str(path), name)


def describe_folder(root: Path, name: str) -> Description:
    """What the files of a folder say without its weights: ``config.json``, and image settings where it has some, which
    an export reads too. Raises :class:`CheckpointError`."""
    description, checkpoint = read_description(root / CONFIG, name), Checkpoint(root, name)
    return description.sized(image_settings(checkpoint), root) if has_image_settings(checkpoint) else description


def describe(config: object, source: str, name: str) -> Description:
    """What a parsed ``config.json`` says of the model ``name``; ``source`` is the file, for errors.

    Raises :class:`CheckpointError` for a family or a variant that is not supported, and for weights that are
    quantised in a way that is not read.
    """
    top = Settings(source, "", config, {})
    kind = top.get("model_type")
    if kind in _REMOTE:
        raise CheckpointError(
            f"{source} is of {kind}, whose code comes with its files; expected the layout of transformers: give the "
            f"converted repository, such as {_converted(name)}"
        )
    if kind not in supported():
        flat = next((name for name in sorted(top.given) if name.startswith(AUTHORS)), None)
        layout = f": with {flat} at its top it is in the layout of LLaVA's authors, so give the converted repository"
        raise CheckpointError(
            f"model_type {ascii(kind)[:60]} of {source} is not supported{'' if flat is None else layout}; supported: "
            f"{', '.join(supported())}"
        )
    integers = held(config, source)  # type: ignore[arg-type]  # Settings takes nothing but an object
    description: Description = _module(kind).describe(top, name)
    return replace(description, held=integers) if integers else description


_REMOTE = ("internvl_chat", "internvl_chat_v1_5", "internvl_chat_v1-5")
"""The ``model_type`` of checkpoints whose authors ship code of their own, and that were converted since."""


def _converted(name: str) -> str:
    """The repository that a checkpoint of the folder or repository ``name`` was converted to."""
    own = name.rstrip("/").rpartition("/")[2]
    return f"OpenGVLab/{own if own.startswith('InternVL') else 'InternVL3-8B'}-hf"


def _module(kind: str) -> Any:
    return importlib.import_module(f"{models.__name__}.{kind}")
