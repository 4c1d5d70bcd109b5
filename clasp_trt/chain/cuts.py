"""Where the decoder is cut, and what reaches each cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from clasp_trt import build_memory
from clasp_trt.build_memory import Run
from clasp_trt.chain import names, port, selections
from clasp_trt.errors import ScheduleError
from clasp_trt.operators import MAX_TOKENS
from clasp_trt.schedule import Schedule

MIN_TEXT = 16
"""Positions that a context must leave for prompt and answer."""


@dataclass(frozen=True)
class Cut:
    """Decoder layers ``first`` to ``last`` (inclusive) as the graph ``name``, which ``visual`` of an image's visual
    tokens reach. ``watched``: a prune that ranks by it follows, so that the last layer also gives a saliency."""

    name: str
    first: int
    last: int
    visual: int
    watched: bool

    @property
    def layers(self) -> int:
        """How many decoder layers it holds."""
        return self.last - self.first + 1

    def capacity(self, context: int, tokens: int) -> int:
        """KV slots of each layer for sequences of ``context`` positions, ``tokens`` of them visual tokens at first:
        what was dropped before needs none."""
        return context - (tokens - self.visual)


@dataclass(frozen=True)
class Prune:
    """A stage of the schedule as the graph ``name``: ``keep`` of ``arriving`` visual tokens stay, or up to as many if
    the numbers are the request's: then it ``varies``. The ``last`` owes what ``method`` reads to no other."""

    name: str
    after_layer: int
    arriving: int
    keep: int
    last: bool
    varies: bool = False
    method: str = selections.DEFAULT

    @property
    def reads(self) -> frozenset[str]:
        """What the selection reads, see :data:`clasp_trt.chain.selections.READS`."""
        return selections.READS[self.method]


@dataclass(frozen=True)
class Chain:
    """The graphs of ``schedule``, whose decoder is cut into ``runs``: those of the schedule, or finer ones. Where the
    number of visual tokens ``varies``, what prunes takes any number of them up to the schedule's. ``clips`` are the
    graphs that clips alone go through. ``method`` chooses, one of :data:`clasp_trt.chain.selections.READS`."""

    schedule: Schedule
    runs: tuple[Run, ...]
    varies: bool = False
    clips: tuple[str, ...] = ()
    method: str = selections.DEFAULT

    @classmethod
    def of(
        cls,
        schedule: Schedule,
        runs: Sequence[Run] | None = None,
        *,
        varies: bool = False,
        clips: tuple[str, ...] = (),
        method: str = selections.DEFAULT,
    ) -> Chain:
        """The chain that ``schedule`` asks for, with ``runs`` of layers of its own or those given."""
        return cls(schedule, schedule.segments() if runs is None else tuple(runs), varies, clips, method)

    @classmethod
    def within(
        cls,
        schedule: Schedule,
        limit: int | None,
        weigh: Callable[[int, int], int],
        *,
        stages_apart: bool = False,
        varies: bool = False,
        method: str = selections.DEFAULT,
    ) -> Chain:
        """The chain with the fewest graphs that each build within ``limit`` bytes, or are a single layer.

        ``weigh(first, last)`` are the bytes of weights of these layers as one graph. ``stages_apart`` makes a graph of
        its own of the layer before each prune. See :func:`clasp_trt.build_memory.cut`.
        """
        runs = schedule.stages_apart() if stages_apart else schedule.segments()
        return cls(schedule, build_memory.cut(runs, limit, weigh), varies, method=method)

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """The segments, in order; a stranger's manifest may have thousands, so each stage is looked at once."""
        stages = self.schedule.stages
        watched = {*self.schedule.prune_layers} if self._reads(port.SALIENCY) else set[int]()
        found, visual, passed = list[Cut](), self.schedule.entering(), 0
        for number, (first, last) in enumerate(self.runs):
            while passed < len(stages) and stages[passed].after_layer < first:
                visual, passed = min(visual, stages[passed].keep), passed + 1
            found.append(Cut(names.segment(number), first, last, visual, last in watched))
        return tuple(found)

    @property
    def prunes(self) -> tuple[Prune, ...]:
        """The stages, in order."""
        stages = self.schedule.stages
        arriving = (self.schedule.entering(), *self.schedule.keeps)
        return tuple(
            Prune(
                names.prune(number),
                stage.after_layer,
                before,
                stage.keep,
                stage is stages[-1],
                self.varies,
                self.method,
            )
            for number, (stage, before) in enumerate(zip(stages, arriving, strict=False))
        )

    @property
    def has_gram(self) -> bool:
        """Whether some stage reads similarities."""
        return bool(self.schedule.stages) and self._reads(port.GRAM)

    def _reads(self, name: str) -> bool:
        return name in selections.READS[self.method]

    def names(self) -> Iterator[str]:
        """Every graph, in the order in which a bundle lists them."""
        yield from (names.VISION, names.PROJECTOR, *self.clips, names.EMBED)
        if self.has_gram:
            yield names.GRAM
        yield from (names.prune(number) for number in range(len(self.schedule.stages)))
        yield from (names.segment(number) for number in range(len(self.runs)))
        yield names.GREEDY


def check(schedule: Schedule, context: int, max_positions: int) -> None:
    """Raises :class:`ScheduleError` for a schedule that no selection can follow, and for a ``--max-context`` that its
    visual tokens leave no room in, or beyond the ``max_positions`` of the checkpoint."""
    tokens = schedule.tokens
    if schedule.stages and (arriving := schedule.entering()) > MAX_TOKENS:
        raise ScheduleError(
            f"one selection handles {MAX_TOKENS} visual tokens, not {arriving}; use --prune-at none, or give fewer "
            "--max-images or --max-frames"
        )
    if context > max_positions:
        raise ScheduleError(f"--max-context {context} exceeds the checkpoint's {max_positions} positions")
    if context < (least := tokens + MIN_TEXT):
        enough = f"expected {least} to {max_positions}"
        if least > max_positions:
            enough = f"the checkpoint has {max_positions} positions, less than the {least} that this takes"
        raise ScheduleError(
            f"--max-context {context} leaves too little room for text beside {tokens} visual tokens; {enough}; where a "
            "picture's size decides, --max-visual-tokens makes them fewer, and of a clip --max-frames"
        )
