"""What a family says of a checkpoint from its ``config.json`` alone: all sizes, and nothing of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path

from clasp_trt.chain import names
from clasp_trt.errors import ScheduleError
from clasp_trt.export import grids, splits
from clasp_trt.export.decoder.spec import DecoderSpec
from clasp_trt.export.specs import Projector, ProjectorSpec, Tower
from clasp_trt.export.towers.grid import GridSpec, MergerSpec
from clasp_trt.export.towers.spec import TowerSpec
from clasp_trt.quantization import UNROUNDED, Quantization
from clasp_trt.splitting import ByEdge, ByRatio
from clasp_trt.thinning import OPTION, AskedThinning, Thinning
from clasp_trt.tiling import Tiling

_INSTEAD = "drop tokens after the projector instead, with --prune-at encoder or decoder"


@dataclass(frozen=True)
class Description:
    """A whole model: what `plan` estimates, what an export makes graphs of, and what a verification walks.

    ``name`` is for people to read. ``image_token_id`` stands for a visual token in a prompt. A request has up to
    ``images`` pictures, or a clip of up to ``frames`` frames; None is as many as fit. ``quantization`` is how the
    weights of its graphs are rounded, ``held`` those that are integers in the checkpoint, as its config tells. ``fp8``:
    what is FP8 in the checkpoint's decoder is so in the graphs.
    """

    model_type: str
    name: str
    tower: Tower
    projector: Projector
    decoder: DecoderSpec
    image_token_id: int
    images: int = 1
    frames: int | None = None
    quantization: Quantization = field(default=UNROUNDED, kw_only=True)
    held: Quantization = field(default=UNROUNDED, kw_only=True)
    fp8: bool = field(default=False, kw_only=True)

    @property
    def integers(self) -> Quantization:
        """All that is integers in its graphs, rounded or held."""
        return self.quantization.beside(self.held)

    def rounded(self, quantization: Quantization) -> Description:
        """The same with weights rounded by ``quantization``. Raises :class:`~clasp_trt.errors.QuantizationError` for a
        part that is integers already."""
        found = replace(self, quantization=quantization)
        found.integers  # noqa: B018  refused now
        return found

    @property
    def tokens(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of a request with something to see."""
        least, usual, _ = self.picture_tokens
        few, many = (least, 0) if self.clip_tokens is None else self.clip_tokens
        return min(least, few), usual, max(self.together, many)

    @property
    def together(self) -> int:
        """The most visual tokens of all pictures of a request."""
        return self.images * max(self.picture_tokens)

    @property
    def clip_tokens(self) -> tuple[int, int] | None:
        """The least and most visual tokens of a clip; None where the model takes none."""
        return None

    @property
    def picture_tokens(self) -> tuple[int, int, int]:
        """Those of one picture."""
        return self.tower.token_range

    @property
    def thinning(self) -> Thinning | None:
        """Which patches the tower drops on its way, if it does."""
        return None

    @property
    def whole(self) -> Tower:
        """The tower that drops none."""
        return self.tower

    def thinned(self, asked: AskedThinning | None) -> Description:
        """The same whose tower drops patches, if that is asked. Raises :class:`ScheduleError` for one whose patches
        must all keep their place, or where nothing would be gained."""
        if asked is None:
            return self
        raise ScheduleError(f"{OPTION} is for models whose patches are visual tokens: {self._whole}; {_INSTEAD}")

    @property
    def _whole(self) -> str:
        """Why all patches are needed to the end."""
        return f"those of {self.model_type} are merged by their place"

    def capped(self, tokens: int | None) -> Description:
        """The same whose pictures have at most ``tokens`` visual tokens, where that is a picture's own to say; it may
        be that even the smallest have more."""
        return self

    def sized(self, settings: Mapping[str, object], root: Path) -> Description:
        """The same with pictures as large as the image ``settings`` of the folder ``root`` have it, where that is
        theirs to say. Raises :class:`CheckpointError` for settings that cannot be used."""
        return self

    @property
    def tiles(self) -> int:
        """How many pictures the tower sees for one, at most."""
        return 1

    @property
    def views(self) -> int:
        """How many pictures the tower sees of a request, at most."""
        return self.images * self.tiles

    @property
    def clip_parameters(self) -> dict[str, int]:
        """Numbers that each graph of clips alone holds."""
        return {}

    @property
    def parts(self) -> dict[str, int]:
        """Parameters that the checkpoint stores, by part."""
        decoder = self.decoder
        return {
            "vision tower": self.tower.parameters,
            names.PROJECTOR: self.projector.parameters,
            "embedding": decoder.embedding_parameters,
            "decoder layers": decoder.layers * decoder.layer_parameters,
            "final norm and head": decoder.width + (0 if decoder.tied else decoder.embedding_parameters),
        }

    @property
    def parameters(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Film:
    """How frames of a clip, each a square, become visual tokens: ``tower`` sees them, which has weights of its ``own``
    or is that of pictures, and ``pool`` by ``pool`` patches become their mean before they are projected; or else they
    are ``mixed`` to so many a side after that, by the projector of pictures, and the clip has an end. ``token`` is the
    id of the token of clips, of which ``usual`` frames are taken, as far as there is room for them."""

    token: int
    tower: TowerSpec
    usual: int
    own: bool = False
    pool: int = 1
    mixed: int | None = None

    @property
    def tokens(self) -> int:
        """Visual tokens of a frame."""
        return self.tower.tokens // self.pool**2 if self.mixed is None else self.mixed**2

    @property
    def ends(self) -> int:
        """Visual tokens of the end of a clip."""
        return int(self.mixed is not None)


@dataclass(frozen=True)
class SquareDescription(Description):
    """One whose tower takes squares. ``tiling`` is how pictures become several of these; without one, each becomes
    one. ``film`` is how it takes clips, if it does."""

    tower: TowerSpec
    projector: ProjectorSpec
    tiling: Tiling | None = None
    film: Film | None = field(default=None, kw_only=True)

    @property
    def thinning(self) -> Thinning | None:
        return self.tower.thinning

    @property
    def whole(self) -> TowerSpec:
        return replace(self.tower, thinning=None)

    def thinned(self, asked: AskedThinning | None) -> Description:
        tower = self.tower
        if asked is None or tower.pool > 1 or self.tiling is not None or self.film is not None:
            return super().thinned(asked)
        return replace(self, tower=replace(tower, thinning=asked.of(tower.patches, tower.built_blocks)))

    @property
    def _whole(self) -> str:
        if self.tiling is not None:
            return f"those of {self.model_type} are tiles of a picture, which are put together by their place"
        if self.film is not None:
            return f"{self.model_type} takes clips too, whose frames keep all"
        return f"those of {self.model_type} are averaged by their place"

    @property
    def apart(self) -> bool:
        """Whether each of several pictures of a request is seen as one square, whose tokens have an end."""
        return self.tiling is not None and self.tiling.limit is not None

    @property
    def together(self) -> int:
        """The most visual tokens of all pictures of a request."""
        if not self.apart or self.images == 1:
            return super().together
        return max(*self.picture_tokens, self.images * (self.tower.tokens + 1))

    @property
    def clip_tokens(self) -> tuple[int, int] | None:
        """The least and most visual tokens of a clip, where it takes some."""
        if self.film is None:
            return None
        return self.film.tokens + self.film.ends, self.frames_taken * self.film.tokens + self.film.ends

    @property
    def frames_taken(self) -> int:
        """How many frames of a clip are taken at most: as many as were asked for, or the usual number, where pictures
        are tiles as far as these have as many tokens."""
        if self.film is None or self.frames is not None:
            return self.frames or 0
        film = self.film
        room = film.usual if self.tiling is None else (self.together - film.ends) // film.tokens
        return max(1, min(film.usual, room))

    @property
    def views(self) -> int:
        """How many squares the towers see of a request at most."""
        pictures = max(self.tiles, self.images) if self.apart else super().views
        return max(pictures, self.frames_taken)

    @property
    def clip_parameters(self) -> dict[str, int]:
        """Numbers that the graphs of clips alone hold."""
        if self.film is None or self.film.mixed is not None:  # these are those of pictures
            return {}
        tower = {names.VISION_VIDEO: self.film.tower.built_parameters} if self.film.own else {}
        return {**tower, names.PROJECTOR_VIDEO: self.projector.parameters}

    @property
    def picture_tokens(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of one picture."""
        return super().picture_tokens if self.tiling is None else self.tiling.token_range

    def capped(self, tokens: int | None) -> SquareDescription:
        """The same without the canvases whose pictures have more than ``tokens``."""
        return self if self.tiling is None else replace(self, tiling=replace(self.tiling, most_tokens=tokens))

    @property
    def tiles(self) -> int:
        """How many squares the tower takes of a picture, at most."""
        return 1 if self.tiling is None else max(self.tiling.tile_range)

    @property
    def parts(self) -> dict[str, int]:
        """Parameters that the checkpoint stores, by part: of all towers, and where tiles are packed, the end of each
        row too."""
        newline = 0 if self.tiling is None else self.decoder.width
        towers = self.tower.parameters
        if self.film is not None and self.film.own:
            towers += self.film.tower.parameters
        return {**super().parts, "vision tower": towers, names.PROJECTOR: self.projector.parameters + newline}


@dataclass(frozen=True)
class GridDescription(Description):
    """One whose tower takes patches in a grid of any size. ``video`` is the id of the token of clips, if it takes some,
    whose frames are ``rate`` positions a second apart, or one where that is None."""

    tower: GridSpec
    projector: MergerSpec
    _: KW_ONLY
    video: int | None = None
    rate: float | None = None

    @property
    def clip_tokens(self) -> tuple[int, int] | None:
        """A clip may have as many as pictures, and is scaled down to that."""
        return None if self.video is None else (1, self.images * self.picture_tokens[-1])

    def capped(self, tokens: int | None) -> GridDescription:
        """The same whose larger pictures are scaled down to ``tokens``."""
        patching = replace(self.tower.patching, most_tokens=tokens)
        return replace(self, tower=replace(self.tower, patching=patching))

    def sized(self, settings: Mapping[str, object], root: Path) -> GridDescription:
        """The same with the least and the most pixels of a picture."""
        return replace(self, tower=replace(self.tower, patching=grids.sized(settings, self.tower.patching, root)))


@dataclass(frozen=True)
class MergingDescription(Description):
    """One whose tower takes squares, the tiles of a picture that is ``split``, and whose projector merges patches.
    Pictures have at most ``most_tokens``, if that is said. With ``clips`` it takes these too, a tile each frame."""

    tower: TowerSpec
    projector: ProjectorSpec
    _: KW_ONLY
    split: ByRatio | ByEdge
    most_tokens: int | None = None
    clips: bool = False

    @property
    def room(self) -> int:
        """How many frames of a clip have room among the tokens that the pictures of a request may have."""
        return self.images * self.picture_tokens[-1] // self.split.tokens

    @property
    def clip_tokens(self) -> tuple[int, int] | None:
        """Those of a frame, and of as many as are taken, or as have room."""
        if not self.clips:
            return None
        return self.split.tokens, self.split.tokens * (self.room if self.frames is None else self.frames)

    @property
    def used(self) -> ByRatio | ByEdge:
        """:attr:`split` into as few tiles as that asks for."""
        return self.split.capped(self.most_tokens)

    @property
    def picture_tokens(self) -> tuple[int, int, int]:
        """The least, usual and most visual tokens of one picture."""
        return self.used.token_range

    def capped(self, tokens: int | None) -> MergingDescription:
        """The same that splits pictures into fewer tiles, so that none has more than ``tokens``."""
        return replace(self, most_tokens=tokens)

    def sized(self, settings: Mapping[str, object], root: Path) -> MergingDescription:
        """The same with as many tiles, or as long an edge."""
        read = splits.by_ratio if isinstance(self.split, ByRatio) else splits.by_edge
        return replace(self, split=read(settings, self.split, root))

    @property
    def tiles(self) -> int:
        """How many squares the tower takes of a picture, at most."""
        return max(self.used.tile_range)
