"""How a model takes clips, as data: which frames, what they become, and where their tokens stand in the prompt.

Records like those of :mod:`clasp_trt.bundle.media`. The tower sees a clip frame by frame, or as many frames at once as
a patch is deep, so that its graph takes no more than of a picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

from clasp_trt.bundle.media import Grid, Processor, Run
from clasp_trt.bundle.mixed import Mixed
from clasp_trt.filming import Filming, Sampling


@dataclass(frozen=True)
class Stills:
    """Each frame becomes what a picture becomes by ``frame``; with ``ends`` the last has its end, of which the others
    have none."""

    kind: ClassVar[str] = "stills"
    frame: Processor
    ends: bool = False

    @property
    def last(self) -> Processor:
        """What the last frame becomes a picture by."""
        return replace(self.frame, end=True) if self.ends and isinstance(self.frame, Mixed) else self.frame

    def token_range(self, frames: int) -> tuple[int, int]:
        """The least and most visual tokens of a clip of up to ``frames`` frames."""
        most, (least, _, last) = max(self.frame.token_range), self.last.token_range
        return least, (frames - 1) * most + last

    @property
    def step_range(self) -> tuple[int, int]:
        """The same of what the tower sees at once."""
        return min(self.frame.token_range), max(self.last.token_range)

    @property
    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """The least, usual and most of each symbolic dimension of what it gives the vision graph."""
        return self.frame.sizes


@dataclass(frozen=True)
class Pairs:
    """Frames become patches that are ``frame.time`` of them deep, by the rules of :class:`~clasp_trt.filming.Filming`:
    a clip has at most ``most_tokens`` visual tokens, and ``frame`` states the areas of a frame, or with ``whole`` of
    all together. With ``apart`` what the tower sees at once is a block of tokens of its own."""

    kind: ClassVar[str] = "pairs"
    frame: Grid
    most_tokens: int
    whole: bool
    apart: bool

    @property
    def filming(self) -> Filming:
        """Its geometry."""
        return Filming(self.frame.patching, self.frame.time, self.whole, self.most_tokens)

    def token_range(self, frames: int) -> tuple[int, int]:
        """The least and most visual tokens of a clip of up to ``frames`` frames."""
        return 1, self.most_tokens

    @property
    def step_range(self) -> tuple[int, int]:
        """The same of what the tower sees at once."""
        least, _, most = self._step.token_range
        return least, most

    @property
    def sizes(self) -> dict[str, tuple[int, int, int]]:
        """The least, usual and most of each symbolic dimension of what it gives the vision graph."""
        return self._step.sizes

    @property
    def _step(self) -> Grid:
        """Pictures of every size that frames may have."""
        block = self.frame.patching.block**2
        least, most = block, self.most_tokens * block
        sized = replace(self.frame.patching, least_pixels=least, most_pixels=most, most_tokens=self.most_tokens)
        return replace(self.frame, least_pixels=least, most_pixels=sized.area)


@dataclass(frozen=True)
class Frames:
    """A layout: a run of visual tokens for each step of a clip, with texts around it.

    ``opening`` stands before all, ``before`` and ``after`` around each, ``between`` between two, and ``closing`` after
    all. In ``before``, ``{number}`` is which it is, from 1, ``{seconds}`` its time with one decimal and ``{clock}`` its
    minutes and seconds of two digits each. In ``opening``, ``{count}`` is how many there are, which ``numerals`` spell
    from 1 on, if they are given, and ``{duration}`` how long the clip lasts in hours, minutes and seconds.
    ``placeholder``, ``token`` and ``id`` are those of :class:`~clasp_trt.bundle.media.Run`.
    """

    kind: ClassVar[str] = "frames"
    placeholder: str
    token: str
    id: int
    opening: str
    before: str
    after: str
    between: str
    closing: str
    numerals: tuple[str, ...] = ()


ClipProcessor: TypeAlias = Stills | Pairs
ClipLayout: TypeAlias = Run | Frames


@dataclass(frozen=True)
class Clips:
    """How clips are taken: ``sampling`` says which frames, ``processor`` what becomes of them, and ``layout`` where
    their tokens stand. Their positions are of the kind that pictures have."""

    sampling: Sampling
    processor: ClipProcessor
    layout: ClipLayout

    @property
    def token_range(self) -> tuple[int, int]:
        """The least and most visual tokens of a clip."""
        return self.processor.token_range(self.sampling.frames)
