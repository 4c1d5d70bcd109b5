"""How many visual tokens each part of the decoder sees: from a budget, given counts or the paper's table.

A schedule prunes the *output* of decoder layers (numbered from 0). With the published prune layers 2, 6 and
15 of 32, layers 0-2 run all ``N`` visual tokens, 3-6 run ``R1``, 7-15 run ``R2`` and 16-31 run ``R3``. A
budget is the mean number of visual tokens over all decoder layers. ``docs/schedule.md`` explains the solver
and lists what it achieves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations, pairwise
from operator import sub

from clasp_trt.brief import brief
from clasp_trt.errors import ScheduleError
from clasp_trt.published import (
    PUBLISHED_KEEPS,
    PUBLISHED_LAYERS,
    PUBLISHED_PRUNE_LAYERS,
    PUBLISHED_TOKENS,
    scaled_keeps,
)
from clasp_trt.solver import check_reachable, lengths_of, rounded, solve_keeps, total
from clasp_trt.storage.fields import Field, Format
from clasp_trt.thinning import OPTION, Thinning

PRUNE_AT = ("decoder", "encoder", "none")
"""Where tokens may be dropped: between layers of the decoder, before it, or nowhere."""
SOURCES = ("published", "published-shares", "solved", "given", "encoder", "none")

_MAX_COUNT = 2**31 - 1
_TOWER = "tower"  # a key of schedules whose tower drops tokens, and of no others
_FORMAT = Format(ScheduleError, ScheduleError, "give the whole schedule")


@dataclass(frozen=True)
class Stage:
    """Keep ``keep`` visual tokens of the output of decoder layer ``after_layer`` (-1: before the decoder).

    Where a request may have fewer tokens than the schedule, ``share`` says which part of them stays: it makes ``keep``
    of all of the schedule's. Without one, ``keep`` stay, or all of fewer.
    """

    after_layer: int
    keep: int
    share: Fraction | None = None


@dataclass(frozen=True)
class Schedule:
    """The stages of one decoder, valid by construction.

    A request has at most ``tokens`` visual tokens, the decoder has ``layers`` layers, and ``source`` says where the
    numbers come from: one of :data:`SOURCES`. Where the vision tower drops some, ``tower`` says how, and the stages,
    with their shares, are of those that are left. Raises :class:`ScheduleError` when the stages are not strictly
    descending, not in the decoder, or contradict ``source`` or their shares.
    """

    tokens: int
    layers: int
    stages: tuple[Stage, ...]
    source: str
    tower: Thinning | None = None

    def __post_init__(self) -> None:
        _check_count("tokens", self.tokens)
        _check_count("layers", self.layers)
        if self.source not in SOURCES:
            raise ScheduleError(f"source: expected one of {', '.join(SOURCES)}, got {brief(self.source)}")
        _check_source(self)
        _check_tower(self)
        if self.source == "encoder":
            _check_keeps(self.entering(), self.keeps)
        elif self.stages:
            _check_prune_layers(self.layers, self.prune_layers)
            _check_keeps(self.entering(), self.keeps)
        _check_shares(self)

    @property
    def keeps(self) -> tuple[int, ...]:
        """Visual tokens kept by each stage, in order; empty without pruning."""
        return tuple(stage.keep for stage in self.stages)

    @property
    def prune_layers(self) -> tuple[int, ...]:
        """The layer after which each stage prunes; -1 stands before the decoder."""
        return tuple(stage.after_layer for stage in self.stages)

    @property
    def prunes(self) -> bool:
        """Whether anything is dropped, in the tower or by a stage."""
        return bool(self.stages) or self.tower is not None

    def entering(self, tokens: int | None = None) -> int:
        """How many of ``tokens`` visual tokens (default: all), those of whole pictures, the tower leaves."""
        every = self.tokens if tokens is None else tokens
        return every if self.tower is None else self.tower.entering(every)

    @property
    def mean_tokens(self) -> float:
        """Mean number of visual tokens over the decoder's layers: what a budget asks for."""
        return self.mean_of(self.tokens)

    def mean_of(self, tokens: int) -> float:
        """The same for a request with ``tokens`` visual tokens."""
        lengths = lengths_of(self.layers, self.prune_layers)
        return total(self.entering(tokens), self.keeps_of(tokens), lengths) / self.layers

    def keeps_of(self, tokens: int) -> tuple[int, ...]:
        """What the stages keep of ``tokens`` visual tokens, at most those of the schedule.

        Shares are rounded, halves up; then each stage, the last one first, keeps at least one more than the next and
        leaves at least one to each before it. Of no more tokens than there are stages, every stage keeps all.
        """
        shares = [stage.share for stage in self.stages if stage.share is not None]
        left = self.entering(tokens)
        if not shares:
            return tuple(min(stage.keep, left) for stage in self.stages)
        return rounded(left, shares) if left > len(shares) else (left,) * len(shares)

    def shared(self) -> Schedule:
        """The same, with the part that each stage keeps of all tokens that enter the decoder as its share."""
        parts = _published_parts(self) or [Fraction(keep, self.entering()) for keep in self.keeps]
        stages = (replace(stage, share=share) for stage, share in zip(self.stages, parts, strict=True))
        return replace(self, stages=tuple(stages))

    def reaching(self, layer: int, tokens: int | None = None, keep: Callable[[int, int], int] = min) -> int:
        """How many visual tokens reach decoder layer ``layer``, of the ``tokens`` (default: all) of a request.

        ``keep(arriving, asked)`` are those that a stage keeps of those that arrive where the schedule asks for
        ``asked``: a method may keep more.
        """
        every = self.tokens if tokens is None else tokens
        left = self.entering(every)
        for stage, asked in zip(self.stages, self.keeps_of(every), strict=True):
            if stage.after_layer < layer:
                left = keep(left, asked)
        return left

    def segments(self) -> tuple[tuple[int, int], ...]:
        """First and last decoder layer (inclusive) of each run of layers that sees the same visual tokens."""
        ends = [layer for layer in self.prune_layers if layer >= 0] + [self.layers - 1]
        starts = [0] + [end + 1 for end in ends[:-1]]
        return tuple(zip(starts, ends, strict=True))

    def stages_apart(self) -> tuple[tuple[int, int], ...]:
        """The same, with the layer before each prune, whose attention is watched, as a run of its own."""
        watched = [layer for layer in self.prune_layers if layer >= 0]
        return tuple(
            run
            for first, last in self.segments()
            for run in ([(first, last - 1), (last, last)] if last in watched and first < last else [(first, last)])
        )

    def describe(self) -> str:
        """One line for a person, such as ``576 -> 300 after layer 2 -> ...``."""
        steps = [f"{self.tokens}"]
        if self.tower is not None:
            steps.append(f"{self.entering()} after block {self.tower.after_block} of the tower")
        for stage in self.stages:
            where = "before the decoder" if stage.after_layer < 0 else f"after layer {stage.after_layer}"
            steps.append(f"{stage.keep} {where}")
        origin = self.source if self.source != "none" else "not pruned" if self.tower is None else "not pruned further"
        mean = f"mean {self.mean_tokens:.1f} visual tokens over {self.layers} layers"
        return f"{' -> '.join(steps)} ({mean}, {origin})"

    def to_json(self) -> dict[str, object]:
        """The JSON object that :meth:`from_json` reads back to an equal schedule."""
        stages = [_stage_content(stage) for stage in self.stages]
        tower = {} if self.tower is None else {_TOWER: self.tower.to_json()}
        return {"tokens": self.tokens, "layers": self.layers, "source": self.source, **tower, "stages": stages}

    @classmethod
    def from_json(cls, obj: object) -> Schedule:
        """Read what :meth:`to_json` wrote; :class:`ScheduleError` names the place of anything else."""
        return cls.read(Field("", "", obj, _FORMAT))

    @classmethod
    def read(cls, item: Field) -> Schedule:
        """The schedule that a field of some file holds. Raises that file's error for a field that breaks a rule by
        itself, and :class:`ScheduleError` for one that breaks a rule with others."""
        top = item.record("tokens", "layers", "source", "stages", optional=(_TOWER,))
        rows = top["stages"].elements()
        return cls(
            top["tokens"].integer(1, _MAX_COUNT),
            top["layers"].integer(1, _MAX_COUNT),
            tuple(_stage(row) for row in rows),
            top["source"].one_of(SOURCES),
            Thinning.read(top[_TOWER]) if _TOWER in top else None,
        )

    def behind(self, tower: Thinning, tokens: int) -> Schedule:
        """The stages of this schedule, which is of what ``tower`` leaves of ``tokens`` visual tokens, or of these
        themselves, behind it."""
        return replace(self, tokens=tokens, tower=tower)


def default_prune_layers(layers: int, avoided: frozenset[int] = frozenset()) -> tuple[int, int, int]:
    """The published prune layers 2, 6, 15 of 32, scaled to a decoder of ``layers`` layers (at least 4).

    Those that are ``avoided`` give way to the nearest others, the last layer never among them: three in all, or else
    the scaled ones stay.
    """
    _check_count("layers", layers)
    if layers < 4:
        raise ScheduleError(
            f"{layers} decoder layers are too few for three pruning stages, which need at least 4:"
            " name fewer layers with --prune-layers, or use --prune-at encoder"
        )
    first, second, third = (
        ((layer + 1) * layers + PUBLISHED_LAYERS // 2) // PUBLISHED_LAYERS for layer in PUBLISHED_PRUNE_LAYERS
    )
    first = max(first, 1)
    second = max(second, first + 1)
    scaled = first - 1, second - 1, max(third, second + 1) - 1
    if not avoided.intersection(scaled):
        return scaled
    others = [layer for layer in range(layers - 1) if layer not in avoided]
    near = {layer for place in scaled for layer in sorted(others, key=lambda layer: abs(layer - place))[:3]}
    moved = {(a, b, c): sum(map(abs, map(sub, (a, b, c), scaled))) for a, b, c in combinations(sorted(near), 3)}
    return min(moved, key=moved.__getitem__, default=scaled)


def solve(
    tokens: int, layers: int, budget: int, prune_layers: Sequence[int] | None = None, *, printed: bool = True
) -> Schedule:
    """The schedule whose mean over the decoder's layers is ``budget`` visual tokens.

    Three stages at :func:`default_prune_layers`, or one stage per entry of ``prune_layers``. The published
    schedules are returned as ``printed``, unless that is not wanted. Every other one is solved: a larger budget never
    keeps fewer tokens at any stage, and the mean is off by at most half the longest run of pruned layers divided by
    ``layers`` (a quarter token for 32 layers). Raises :class:`ScheduleError` for a budget that no strictly descending
    schedule meets, saying which ones do.
    """
    _check_count("tokens", tokens)
    chosen = default_prune_layers(layers) if prune_layers is None else tuple(prune_layers)
    _check_count("layers", layers)
    _check_prune_layers(layers, chosen)
    _check_budget(tokens, budget)
    where = (tokens, layers, chosen)
    if printed and where == (PUBLISHED_TOKENS, PUBLISHED_LAYERS, PUBLISHED_PRUNE_LAYERS) and budget in PUBLISHED_KEEPS:
        return _schedule(tokens, layers, PUBLISHED_KEEPS[budget], chosen, "published")
    lengths = lengths_of(layers, chosen)
    check_reachable(tokens, budget, chosen, lengths)
    return _schedule(tokens, layers, solve_keeps(tokens, budget * layers, chosen, lengths), chosen, "solved")


def given(tokens: int, layers: int, keeps: Sequence[int], prune_layers: Sequence[int] | None = None) -> Schedule:
    """Keep ``keeps`` tokens after ``prune_layers``, which default to :func:`default_prune_layers`."""
    chosen = default_prune_layers(layers) if prune_layers is None else tuple(prune_layers)
    if len(keeps) != len(chosen):
        raise ScheduleError(
            f"the schedule names {len(keeps)} token counts for {len(chosen)} prune layers"
            f" ({_join(chosen)}): give one count for each, or change --prune-layers"
        )
    return _schedule(tokens, layers, keeps, chosen, "given")


def published(tokens: int, layers: int, budget: int, prune_layers: Sequence[int] | None = None) -> Schedule:
    """The three stages of the published ``budget``, a key of :data:`PUBLISHED_KEEPS`, at :func:`default_prune_layers`
    or at three others: as printed for 576 tokens and 32 layers, and as the same fractions for any other model.

    Their mean is what the places of the stages make it. Raises :class:`ScheduleError` where they do not fit.
    """
    chosen = default_prune_layers(layers) if prune_layers is None else tuple(prune_layers)
    if len(chosen) != len(PUBLISHED_PRUNE_LAYERS):
        raise ScheduleError(f"the paper has three stages, but --prune-layers names {len(chosen)}; give three or none")
    printed = (tokens, layers, chosen) == (PUBLISHED_TOKENS, PUBLISHED_LAYERS, PUBLISHED_PRUNE_LAYERS)
    source = "published" if printed else "published-shares"
    return _schedule(tokens, layers, scaled_keeps(budget, tokens), chosen, source)


def encoder(tokens: int, layers: int, budget: int) -> Schedule:
    """One stage before the decoder: all ``layers`` layers see ``budget`` of the ``tokens`` visual tokens."""
    _check_count("tokens", tokens)
    _check_budget(tokens, budget)
    return Schedule(tokens, layers, (Stage(-1, budget),), "encoder")


def none(tokens: int, layers: int) -> Schedule:
    """No pruning: the baseline."""
    return Schedule(tokens, layers, (), "none")


def _schedule(tokens: int, layers: int, keeps: Sequence[int], after: Sequence[int], source: str) -> Schedule:
    stages = tuple(Stage(layer, keep) for layer, keep in zip(after, keeps, strict=True))
    return Schedule(tokens, layers, stages, source)


def _published_parts(schedule: Schedule) -> list[Fraction] | None:
    """The exact fractions of a published schedule, which its counts only round."""
    if schedule.source not in ("published", "published-shares") or schedule.tower is not None:
        return None
    of = next(
        keeps for budget, keeps in PUBLISHED_KEEPS.items() if scaled_keeps(budget, schedule.tokens) == schedule.keeps
    )
    return [Fraction(keep, PUBLISHED_TOKENS) for keep in of]


def _stage_content(stage: Stage) -> dict[str, object]:
    content: dict[str, object] = {"after_layer": stage.after_layer, "keep": stage.keep}
    if stage.share is not None:
        content["share"] = [stage.share.numerator, stage.share.denominator]
    return content


def _stage(row: Field) -> Stage:
    of = row.record("after_layer", "keep", optional=("share",))
    share = None if "share" not in of else _share(of["share"])
    return Stage(of["after_layer"].integer(-1), of["keep"].integer(1), share)


def _share(item: Field) -> Fraction:
    parts = [part.integer(1, _MAX_COUNT) for part in item.elements()]
    if len(parts) != 2 or parts[0] >= parts[1]:
        item.fail("numerator and denominator of a fraction below 1")
    return Fraction(parts[0], parts[1])


def _check_count(name: str, value: object) -> None:
    if type(value) is not int or not 1 <= value <= _MAX_COUNT:  # type(), because a bool is an int
        raise ScheduleError(f"{name}: expected a whole number from 1 to {_MAX_COUNT}, got {brief(value)}")


def _check_prune_layers(layers: int, prune_layers: Sequence[int]) -> None:
    cure = f"expected ascending layers from 0 to {layers - 2} of {layers}"
    if not prune_layers:
        raise ScheduleError("no prune layers: name at least one with --prune-layers, or use --prune-at none")
    for layer in prune_layers:
        if type(layer) is not int:
            raise ScheduleError(f"prune layers: {brief(layer)} is not a whole number; {cure}")
        if layer < 0:
            raise ScheduleError(f"prune layers: {layer} is negative; {cure}, or use --prune-at encoder")
        if layer > layers - 2:
            raise ScheduleError(f"prune layers: after layer {layer} no layer is left to gain from it; {cure}")
    if any(later <= earlier for earlier, later in pairwise(prune_layers)):
        raise ScheduleError(f"prune layers: {_join(prune_layers)} do not ascend; {cure}")


def _check_keeps(tokens: int, keeps: Sequence[int]) -> None:
    for keep in keeps:
        if type(keep) is not int or keep < 1:
            raise ScheduleError(f"schedule: {brief(keep)} is not a token count; expected whole numbers >= 1")
    if keeps[0] >= tokens:
        raise ScheduleError(
            f"schedule: the first stage keeps {keeps[0]} of {tokens} tokens; expected at most {tokens - 1}"
            " (to keep all of them: --prune-at none)"
        )
    if any(later >= earlier for earlier, later in pairwise(keeps)):
        raise ScheduleError(f"schedule: {_join(keeps)} do not descend; each stage must keep fewer tokens")


def _check_source(schedule: Schedule) -> None:
    """``source`` is a claim about the stages; a schedule that does not bear it out is refused."""
    source, after = schedule.source, schedule.prune_layers
    if source == "none" and after:
        raise ScheduleError(f"stages: source 'none' has no stages, got {len(after)}")
    if source == "encoder" and after != (-1,):
        raise ScheduleError(f"stages: source 'encoder' has one, after layer -1, got {_join(after) or 'none'}")
    if source not in ("none", "encoder") and not after:
        raise ScheduleError(f"stages: source {source!r} needs at least one stage, got none")
    published = (PUBLISHED_TOKENS, PUBLISHED_LAYERS, PUBLISHED_PRUNE_LAYERS)
    if source == "published" and not (
        (schedule.tokens, schedule.layers, after) == published and schedule.keeps in PUBLISHED_KEEPS.values()
    ):
        raise ScheduleError("stages: source 'published', but these are not the counts that were published")
    if source == "published-shares" and schedule.keeps not in (
        scaled_keeps(budget, schedule.tokens) for budget in PUBLISHED_KEEPS
    ):
        raise ScheduleError(f"stages: source {source!r}, but these are not the fractions that were published")


def _check_tower(schedule: Schedule) -> None:
    if schedule.tower is not None and schedule.tokens % schedule.tower.of:
        raise ScheduleError(
            f"tokens: {schedule.tokens} are no whole pictures of {schedule.tower.of}, which {OPTION} is of"
        )


def _check_shares(schedule: Schedule) -> None:
    shares = {stage.share is not None for stage in schedule.stages}
    if len(shares) == 2:
        raise ScheduleError("stages: some have a share and others have none; give all or none")
    if shares == {True} and schedule.keeps_of(schedule.tokens) != schedule.keeps:
        made = _join(schedule.keeps_of(schedule.tokens))
        raise ScheduleError(
            f"stages: their shares make {made} of {schedule.tokens} tokens, not {_join(schedule.keeps)}"
        )


def _check_budget(tokens: int, budget: object) -> None:
    if type(budget) is not int or budget < 1:
        raise ScheduleError(
            f"budget: expected a whole number of visual tokens from 1 to {tokens - 1}, got {brief(budget)};"
            " to keep every token use --prune-at none"
        )
    if budget > tokens:
        raise ScheduleError(f"budget: {budget} is more than the {tokens} visual tokens; ask for at most {tokens - 1}")
    if budget == tokens:
        raise ScheduleError(f"budget: {budget} keeps every visual token; use --prune-at none")


def _join(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)
