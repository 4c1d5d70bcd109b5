"""What a build is asked for: what a bundle fixes for good, and what its engines are made for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from clasp_trt import budgets
from clasp_trt import schedule as schedules
from clasp_trt.budgets import Budget, Published
from clasp_trt.bundle.manifest import MAX_SLOTS
from clasp_trt.bundle.media import MAX_IMAGES
from clasp_trt.bundle.media_reader import MAX_CLIP_FRAMES as MAX_FRAMES
from clasp_trt.chain import selections
from clasp_trt.errors import (
    BackendError,
    ImageError,
    MethodError,
    PolicyError,
    QuantizationError,
    ScheduleError,
    TargetError,
)
from clasp_trt.notice import tell
from clasp_trt.quantization import UNROUNDED, Quantization, check_calibration, parse
from clasp_trt.schedule import PRUNE_AT, Schedule
from clasp_trt.sparsity import Sparsity
from clasp_trt.sparsity import parse as parse_sparsity
from clasp_trt.targets import PRECISIONS
from clasp_trt.thinning import OPTION, AskedThinning, Thinning

DEFAULT_PRUNE_AT, DEFAULT_PRECISION, DEFAULT_CONTEXT = "decoder", "fp32", 2048
DEFAULT_TEXT = 1024
"""Positions that a context leaves for text, where pictures take more than the rest of the usual."""
DEFAULT_VISUAL_TOKENS = 4096
"""Of a picture at most, where that varies: the kernels choose from no more (:mod:`clasp_trt.plugins.launch`)."""
MAX_BUILD_MEMORY = 1e6
"""GB: a million is more than any machine has, and still a number of bytes that TensorRT takes."""

_ENDLESS = 2**31 - 1  # tokens and layers of a model that every legal schedule fits


@dataclass(frozen=True)
class Pruning:
    """How a build prunes. What is None was not asked for.

    ``at`` is one of :data:`clasp_trt.schedule.PRUNE_AT` (default: decoder). ``budget`` is the mean of visual tokens
    over decoder layers, as a count or a share (default: a third of them), or one of the paper's; ``keeps`` gives the
    stages' sizes instead. ``prune_layers`` are the 0-based decoder layers after which the stages stand. ``method``
    chooses the tokens, one of :data:`clasp_trt.chain.selections.READS` (default: clasp). ``tower`` is what the vision
    tower drops before any of these, whatever ``at`` says; then the default budget is a third of what it leaves. Raises
    :class:`ScheduleError` for what contradicts itself, whatever the model, and :class:`MethodError` for a method that
    is not compiled.
    """

    at: str | None = None
    budget: Budget | None = None
    keeps: tuple[int, ...] | None = None
    prune_layers: tuple[int, ...] | None = None
    method: str | None = None
    tower: AskedThinning | None = None

    def __post_init__(self) -> None:
        if self.place not in PRUNE_AT:
            raise ScheduleError(f"--prune-at is {self.at!r}, expected one of {', '.join(PRUNE_AT)}")
        if self.budget is not None and self.keeps is not None:
            raise ScheduleError("--budget and --schedule exclude each other; give the mean or the stages, not both")
        if self.place == "none" and (self.budget, self.keeps, self.prune_layers) != (None, None, None):
            raise ScheduleError(
                "--prune-at none keeps every token; drop --budget, --schedule and --prune-layers, "
                "or choose decoder or encoder"
            )
        if self.place == "encoder" and (self.keeps, self.prune_layers) != (None, None):
            raise ScheduleError(
                "--prune-at encoder has one stage, before the decoder; "
                "give its size with --budget, without --schedule and --prune-layers"
            )
        if self.method is not None:
            if self.method not in selections.READS:
                raise MethodError(
                    f"--method is {self.method!r}; those that are compiled are {', '.join(selections.READS)} (others "
                    "run on the host, in any bundle: run, show, eval and profile take them)"
                )
            if self.place == "none":
                raise MethodError(f"--method {self.method} chooses what stays, and --prune-at none keeps every token")
            if self.place == "encoder" and self.method in selections.RATED:
                raise MethodError(
                    f"--method {self.method} goes by what the prompt attends to, and --prune-at encoder comes before "
                    "it; choose decoder, or another method"
                )
        if self.keeps is not None:  # what no model could follow is refused before one is opened
            schedules.given(_ENDLESS, _ENDLESS, self.keeps, range(len(self.keeps)))

    @property
    def place(self) -> str:
        """``at``, or its default."""
        return DEFAULT_PRUNE_AT if self.at is None else self.at

    @property
    def selection(self) -> str:
        """``method``, or its default."""
        return selections.DEFAULT if self.method is None else self.method

    def mean(self, tokens: int, entering: int | None = None) -> int | None:
        """The mean to aim at with ``tokens`` visual tokens, of which ``entering`` (default: all) enter the decoder;
        None where none is asked for."""
        if self.place == "none" or self.keeps is not None:
            return None
        third = max(1, (tokens if entering is None else entering) // 3)
        return third if self.budget is None else budgets.mean(self.budget, tokens)

    def schedule(
        self,
        tokens: int,
        layers: int,
        *,
        varies: bool = False,
        short_sighted: frozenset[int] = frozenset(),
        thinning: Thinning | None = None,
    ) -> Schedule:
        """The stages for ``tokens`` visual tokens, or up to as many, and a decoder of ``layers`` layers, behind a
        tower's ``thinning``.

        Where the number ``varies``, stages keep shares of it, unless they or their mean were asked for as counts: then
        a request with fewer tokens loses fewer. Layers that are ``short_sighted`` may not see all of the tokens: no
        stage stands there by itself, and where one was asked for it is told. Raises :class:`ScheduleError` if the
        decoder cannot have the stages.
        """
        after = self.prune_layers
        if after is None and short_sighted and self.place == "decoder":
            after = schedules.default_prune_layers(layers, short_sighted)
        if thinning is None:
            made = self._schedule(tokens, tokens, layers, after)
        else:
            made = self._behind(thinning, tokens, layers, after)
        if blind := sorted(short_sighted.intersection(made.prune_layers)):
            tell(
                f"stages after layers {', '.join(map(str, blind))} rank tokens by what a window shows, which {tokens} "
                "visual tokens fill: those out of it count as never looked at; --prune-layers names layers that see all"
            )
        return made.shared() if varies and self.keeps is None and not isinstance(self.budget, int) else made

    def _behind(self, thinning: Thinning, tokens: int, layers: int, after: tuple[int, ...] | None) -> Schedule:
        entering = thinning.entering(tokens)
        try:
            return self._schedule(tokens, entering, layers, after).behind(thinning, tokens)
        except ScheduleError as error:
            raise ScheduleError(f"{error}; {OPTION} leaves {entering} of {tokens} visual tokens") from None

    def _schedule(self, tokens: int, entering: int, layers: int, after: tuple[int, ...] | None) -> Schedule:
        mean = self.mean(tokens, entering)
        if self.keeps is not None:
            return schedules.given(entering, layers, self.keeps, after)
        if mean is None:
            return schedules.none(entering, layers)
        if self.place == "encoder":
            return schedules.encoder(entering, layers, mean)
        if isinstance(self.budget, Published):
            return schedules.published(tokens, layers, self.budget.keeps, after)
        try:
            return schedules.solve(entering, layers, mean, after, printed=entering == tokens)
        except ScheduleError as error:
            if self.budget is not None:
                raise
            raise ScheduleError(f"no --budget was given, so a third of the tokens is meant; {error}") from None


@dataclass(frozen=True)
class Options:
    """What to make of a checkpoint: all that a bundle fixes for good. What is None was not asked for.

    ``precision`` is one of :data:`clasp_trt.targets.PRECISIONS` (default: fp32), ``policy`` a policy file (default: an
    uncalibrated prior), ``max_context`` the longest sequence of prompt, visual tokens and answer (default: 2048, or
    what the checkpoint knows if that is less). ``vision_layers`` are the layers that the prior is made over, as hidden
    states, for a calibration to choose from (default: three depths, or one without pruning); the layer that the
    checkpoint reads by itself is always among them. ``router`` is a folder that ``clasp-trt router`` made, for the
    policy's categories (default: the one that comes with the package if it has them, else none: the runtime routes by
    its rules). ``max_visual_tokens`` is what pictures are scaled down to where they may have more (default: 4096),
    ``max_images`` how many pictures a request may have (default: 1), ``max_frames`` how many frames are taken of a clip
    (default: what the checkpoint says, and no more than have room among the tokens of pictures), ``quantize`` how
    weights are rounded, as :func:`clasp_trt.quantization.parse` reads it (default: not at all), ``sparsity`` which of
    the decoder's are zero, as :func:`clasp_trt.sparsity.parse` does (default: none), and ``calibration`` a
    file of questions by which the decoder's are (default: each to the nearest), of which it takes ``calibration_rows``
    (default: up to :data:`~clasp_trt.quantization.USUAL_ROWS`).
    """

    pruning: Pruning = Pruning()
    precision: str | None = None
    policy: str | os.PathLike[str] | None = None
    max_context: int | None = None
    vision_layers: tuple[int, ...] | None = None
    router: str | os.PathLike[str] | None = None
    max_visual_tokens: int | None = None
    max_images: int | None = None
    max_frames: int | None = None
    quantize: str | None = None
    sparsity: str | None = None
    calibration: str | os.PathLike[str] | None = None
    calibration_rows: int | None = None

    @staticmethod
    def of(
        *,
        budget: int | str | Budget | None = None,
        schedule: Sequence[int] | None = None,
        prune_layers: Sequence[int] | None = None,
        prune_at: str | None = None,
        method: str | None = None,
        precision: str | None = None,
        policy: str | os.PathLike[str] | None = None,
        max_context: int | None = None,
        vision_layers: Sequence[int] | None = None,
        router: str | os.PathLike[str] | None = None,
        max_visual_tokens: int | None = None,
        max_images: int | None = None,
        max_frames: int | None = None,
        quantize: str | None = None,
        sparsity: str | None = None,
        prune_tower: str | None = None,
        calibration: str | os.PathLike[str] | None = None,
        calibration_rows: int | None = None,
    ) -> Options:
        """The options of the command line, by the same names; ``budget`` is read by :func:`clasp_trt.budgets.parse`."""
        asked = None if budget is None else budgets.parse(budget)
        tower = None if prune_tower is None else AskedThinning.parse(prune_tower)
        return Options(
            pruning=Pruning(
                at=prune_at,
                budget=asked,
                keeps=_fixed(schedule),
                prune_layers=_fixed(prune_layers),
                method=method,
                tower=tower,
            ),
            precision=precision,
            policy=policy,
            max_context=max_context,
            vision_layers=_fixed(vision_layers),
            router=router,
            max_visual_tokens=max_visual_tokens,
            max_images=max_images,
            max_frames=max_frames,
            quantize=quantize,
            sparsity=sparsity,
            calibration=calibration,
            calibration_rows=calibration_rows,
        )

    def __post_init__(self) -> None:
        if type(self.images) is not int or not 1 <= self.images <= MAX_IMAGES:
            raise ImageError(f"--max-images is {self.max_images!r}; expected a whole number from 1 to {MAX_IMAGES}")
        if self.max_frames is not None and (type(self.max_frames) is not int or not 1 <= self.max_frames <= MAX_FRAMES):
            raise ImageError(f"--max-frames is {self.max_frames!r}; expected a whole number from 1 to {MAX_FRAMES}")
        if self.floats not in PRECISIONS:
            raise TargetError(f"unknown precision {self.precision!r}: choose one of {', '.join(PRECISIONS)}")
        if self.policy is not None and self.vision_layers is not None:
            raise PolicyError(
                "--policy and --vision-layers exclude each other: a policy names the layers that it reads"
            )
        if type(self.most_tokens) is not int or self.most_tokens < 1:
            raise ScheduleError(f"--max-visual-tokens is {self.max_visual_tokens!r}; expected a whole number above 0")
        chooses = self.sparse is not None and self.sparse.is_calibrated
        # what cannot be read is refused by both
        check_calibration(self.quantization, self.calibration, self.calibration_rows, chooses=chooses)
        if self.calibration is not None and self.pruning.tower is not None:
            raise QuantizationError(
                "--calibration asks about whole pictures, of which --prune-tower leaves a part; drop one of them"
            )

    @property
    def floats(self) -> str:
        """``precision``, or its default."""
        return DEFAULT_PRECISION if self.precision is None else self.precision

    @property
    def quantization(self) -> Quantization:
        """``quantize``, or its default."""
        return UNROUNDED if self.quantize is None else parse(self.quantize)

    @property
    def sparse(self) -> Sparsity | None:
        """``sparsity`` as it is read, None without."""
        return None if self.sparsity is None else parse_sparsity(self.sparsity)

    @property
    def most_tokens(self) -> int:
        """``max_visual_tokens``, or its default."""
        return DEFAULT_VISUAL_TOKENS if self.max_visual_tokens is None else self.max_visual_tokens

    def check_tokens(self, allowed: tuple[int, int, int], made: tuple[int, int, int]) -> None:
        """``allowed`` are the least, usual and most visual tokens of a picture by the checkpoint, ``made`` those with
        :attr:`most_tokens`. Says so where these are less; raises :class:`ScheduleError` where it was asked for in
        vain."""
        asked, most = self.max_visual_tokens, made[-1]
        if asked is not None and allowed[0] == allowed[-1]:
            raise ScheduleError(
                f"--max-visual-tokens {asked} is for models whose pictures differ in their visual tokens; this one's "
                f"have {most} each: drop it"
            )
        if asked is not None and most > asked:
            raise ScheduleError(
                f"--max-visual-tokens {asked} is too few: however small, a picture of this model may have {most}; "
                f"give at least that"
            )
        if most < allowed[-1]:
            tell(
                f"pictures are scaled down to at most {most} visual tokens, of the {allowed[-1]} that the checkpoint "
                "allows; --max-visual-tokens says to how many"
            )

    def check_clips(self, taken: bool) -> None:
        """Raises :class:`ImageError` where frames were asked for and no clips are ``taken``."""
        if self.max_frames is not None and not taken:
            raise ImageError(f"--max-frames {self.max_frames} is for models that take clips, and this one does not")

    @property
    def images(self) -> int:
        """``max_images``, or its default."""
        return 1 if self.max_images is None else self.max_images

    def context(self, known: int, tokens: int) -> int:
        """``max_context``, or its default beside ``tokens`` visual tokens for a decoder that knows ``known``
        positions."""
        usual = max(DEFAULT_CONTEXT, tokens + DEFAULT_TEXT)
        return min(usual, known) if self.max_context is None else self.max_context


def slot_count(asked: int | None) -> int:
    """How many requests are answered together, 1 unless ``asked`` says otherwise. Raises :class:`BackendError`."""
    if asked is not None and (type(asked) is not int or not 1 <= asked <= MAX_SLOTS):
        raise BackendError(f"--slots is {asked!r}; expected a whole number from 1 to {MAX_SLOTS}")
    return asked or 1


def _fixed(numbers: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if numbers is None else tuple(numbers)


@dataclass(frozen=True)
class EngineOptions:
    """What to make engines for, of a backend that compiles. What is None, or empty, was not asked for.

    ``sms`` are compute capabilities such as ``"8.9"`` (default: the target's), ``max_prompt`` is the longest text of a
    prompt in tokens (default: 512, or what the context leaves beside an image), ``max_build_memory`` the GB that
    building may take (default: what is available): an export cuts the decoder finer for it. With ``cache``, an engine
    that was built before is used again. With ``plugins``, the selection runs in the kernels of ``engines/kernels``
    instead of standard operators.
    """

    sms: tuple[str, ...] = ()
    max_prompt: int | None = None
    max_build_memory: float | None = None
    cache: bool = True
    plugins: bool = False

    def __post_init__(self) -> None:
        if self.max_build_memory is not None and not 0 < self.max_build_memory <= MAX_BUILD_MEMORY:
            raise BackendError(
                f"--max-build-memory is {self.max_build_memory:g}; expected a number of GB above 0 and up to "
                f"{MAX_BUILD_MEMORY:g}"
            )

    @property
    def memory_bytes(self) -> int | None:
        """``max_build_memory`` in bytes: the bound of what a build is estimated to take."""
        return None if self.max_build_memory is None else round(self.max_build_memory * 1e9)

    @property
    def workspace_bytes(self) -> int | None:
        """Bytes of scratch that a kernel of the engines may use: what it is tried with counts as the build's memory, so
        it gets no more than that. None leaves it to the builder."""
        return self.memory_bytes
