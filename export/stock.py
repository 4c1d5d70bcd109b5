"""What transformers' own loaders make of a checkpoint's folder and a request: nothing here reads a file of it.

A verification compares a bundle with this, and not with what the rest of this room read of the same files.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.loading import quietly

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False)
class Stock:
    """``pixel_values`` of each picture, float32 ``[tiles, 3, height, width]`` or ``[frames, patches, values]``, by the
    Pillow backend, ``input_ids`` int64 ``[rows]`` with one id for each visual token, and the ids that end an answer."""

    pixel_values: tuple[NDArray[np.float32], ...]
    input_ids: NDArray[np.int64]
    stop_token_ids: tuple[int, ...]


def stock(
    checkpoint: Checkpoint, images: Sequence[Image], prompt: str, sizes: Mapping[str, object] = MappingProxyType({})
) -> Stock:
    """One user turn about ``images``, by the processor and the generation config of ``checkpoint``; ``sizes`` are
    settings of the image processor that take the place of its own.

    Pictures go where ``prompt`` has the image's token, or else before it, where the chat template puts them. Raises
    :class:`CheckpointError` if transformers has no processor for it, or that cannot take the request.
    """
    root = str(checkpoint.root)
    try:
        with quietly():
            processor = _processor(root)
            vars(processor.image_processor).update(sizes)
            made = _apply(processor, images, prompt)
            if len(images) > 1 and _sees_several(processor):
                pixels = tuple(processor.image_processor([list(images)], return_tensors="np")["pixel_values"])
            else:  # together, fewer tiles would be padded
                pixels = tuple(_pixels(processor, image) for image in images)
            stop = _generation(root).eos_token_id
    except Exception as error:  # a processor may stumble over whatever its files lack
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
        raise CheckpointError(f"the processor of transformers cannot take a request to {root} ({reason})") from error
    return Stock(
        pixels,
        np.asarray(made["input_ids"], np.int64)[0],
        tuple(stop) if isinstance(stop, list) else () if stop is None else (stop,),
    )


def _processor(root: str) -> Any:
    """The whole processor, pictures by Pillow: torchvision, where it is installed, rounds otherwise."""
    from transformers import AutoConfig, AutoImageProcessor, AutoProcessor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
    from transformers.utils.import_utils import is_torchvision_available

    pictures: Any = AutoImageProcessor.from_pretrained(root, local_files_only=True, backend="pil")  # type: ignore[no-untyped-call]
    kind: Any = PROCESSOR_MAPPING.get(type(AutoConfig.from_pretrained(root, local_files_only=True)), None)
    if kind is not None and "video_processor" in kind.get_attributes() and not is_torchvision_available():
        return _without_videos(kind, root, pictures)
    untyped: Any = AutoProcessor
    processor = untyped.from_pretrained(root, local_files_only=True)
    processor.image_processor = pictures
    return processor


def _sees_several(processor: Any) -> bool:
    """Whether it makes of several pictures of a request what it makes of none alone."""
    return "batch_num_images" in processor.image_processor.model_input_names


def _pixels(processor: Any, image: Image) -> NDArray[np.float32]:
    """Those of one picture, without the dimension that some processors have for pictures."""
    own = getattr(processor, "images_kwargs", {})  # what it has done, whatever the settings of pictures say
    made = processor.image_processor(image, **{**own, "return_tensors": "np"})
    (name,) = (name for name in ("pixel_values", "pixel_values_images") if name in made)  # as Video-LLaVA's has it
    found = np.asarray(made[name], np.float32)
    return found[None] if found.ndim == 2 else found.reshape(-1, *found.shape[-3:])


def _without_videos(kind: Any, root: str, pictures: Any) -> Any:
    """A processor of ``kind`` that takes no videos, for which alone the library asks for torchvision."""
    from transformers import AutoTokenizer

    class Still(kind):  # type: ignore[misc]
        def check_argument_for_proper_class(self, name: str, argument: Any) -> Any:
            return None if argument is None else super().check_argument_for_proper_class(name, argument)

    settings, _ = kind.get_processor_dict(root, local_files_only=True)
    taken = set(inspect.signature(kind).parameters) - set(kind.get_attributes())
    return Still(
        image_processor=pictures,
        tokenizer=AutoTokenizer.from_pretrained(root, local_files_only=True),
        video_processor=None,
        **{name: value for name, value in settings.items() if name in taken},
    )


def _apply(processor: Any, images: Sequence[Image], prompt: str) -> Any:
    # a processor without a template of its own is silent about that of its tokenizer
    template = processor.chat_template or processor.tokenizer.chat_template
    if template is None:
        return processor(images=[list(images)], text=[prompt], return_tensors="np")
    placed = str(getattr(processor, "image_token", "")) in prompt
    content: list[dict[str, object]] = [{"type": "text", "text": prompt}]
    if not placed:
        content = [*({"type": "image", "image": image} for image in images), *content]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        chat_template=template,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="np",
        processor_kwargs={"images": list(images)} if placed else {},
    )


def _generation(root: str) -> Any:
    """As ``from_pretrained`` of a model: its own file, or else what ``config.json`` says."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(root, local_files_only=True)
    except OSError:
        return GenerationConfig.from_pretrained(
            root, config_file_name="config.json", local_files_only=True, _from_model_config=True
        )
