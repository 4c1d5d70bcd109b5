"""An image as the vision graph saw it, which requests have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from clasp_trt.runtime.backends.interface import Runner, Tensor
from clasp_trt.runtime.media.clip import ClipSource
from clasp_trt.runtime.media.image import ImageSource
from clasp_trt.runtime.media.seen import Block, Seen


@dataclass(frozen=True, eq=False)
class Eye:
    """A tower and a projector that go together, those of pictures or those of clips; ``taken`` are the projector's
    inputs."""

    vision: Runner[Tensor]
    projector: Runner[Tensor]
    taken: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Encoded:
    """An image as the vision graph saw it, for any number of requests: :meth:`Pipeline.encode` makes it.

    ``outputs`` are those of the vision graph by port name, such as the ``features`` ``[1, layers, tokens, width]`` of
    every exported layer, not fused yet: tensors of the backend, which no request changes. ``pack`` are the projector's
    other inputs, likewise; ``blocks`` say which tokens come of it all. ``eye`` has the graph that gave the outputs.
    ``nbytes`` is what it all holds. ``apart``: as one of several images of a request, which the model sees otherwise.
    """

    outputs: Mapping[str, Tensor]
    pack: Mapping[str, Tensor]
    blocks: tuple[Block, ...]
    eye: Eye
    nbytes: int
    apart: bool = False


@dataclass(frozen=True, eq=False)
class Fresh:
    """An image that ``eye`` is yet to see; ``key`` stands for its pixels where these are kept, ``apart`` is that of
    :class:`Encoded`."""

    seen: Seen
    key: bytes | None
    eye: Eye
    apart: bool = False

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Which tokens come of it."""
        return self.seen.blocks


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture or clip where the prompt shows it. ``steps`` are what the tower sees, one after another, whose tokens
    in that order are those of ``blocks``."""

    steps: tuple[Encoded | Fresh, ...]
    blocks: tuple[Block, ...]


Picture = ImageSource | Encoded
Video = ClipSource | Shown
Pictures = Picture | Sequence[Picture] | None
"""What a request is about: one image, several in the order of the prompt, or none."""


def listed(images: Pictures) -> tuple[Picture, ...]:
    """``images`` in their order, if they are a list or a tuple: a string or bytes, which are sequences too, are one."""
    if images is None:
        return ()
    return tuple(images) if isinstance(images, (list, tuple)) else (cast(Picture, images),)
