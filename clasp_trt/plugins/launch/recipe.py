"""Launches for any numbers of tokens: what is written once, as arithmetic, and worked out at each shape.

A recipe is plain data like a plan. An engine holds it, and whoever runs the engine, in Python or in C++, works it out
when a shape comes for the first time, and plans nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from clasp_trt.plugins.launch.plan import ALIGNMENT, Argument, Dim3, Int32, Launch, Tensor, Workspace

LARGEST = 2**31 - 1
"""Numbers of a launch, and bytes of its workspace, are int32 of at least 0."""


class Rule(IntEnum):
    """What the number of a row is, given the two that stand beside the rule."""

    CONSTANT = 0
    """the first of the two"""
    SIZE = 1
    """the tokens of the request (0), or how many of them stay (1)"""
    SUM = 2
    """of the numbers of two rows before it"""
    PRODUCT = 3
    """of the numbers of two rows before it"""
    CEILING = 4
    """the number of one row before it over that of another, rounded up"""
    BELOW = 5
    """1 where the number of one row before it is less than that of another, otherwise 0"""


Row = tuple[int, int, int]
"""A rule, and two numbers."""

_PAIRS: Mapping[int, Callable[[int, int], int]] = {
    Rule.SUM: int.__add__,
    Rule.PRODUCT: int.__mul__,
    Rule.CEILING: lambda left, right: -(-left // right),
    Rule.BELOW: lambda left, right: int(left < right),
}


@dataclass(frozen=True)
class Recipe:
    """Launches in which every number is that of a row: of ``rows``, and worked out for a shape.

    ``workspace`` is the row of the bytes that all shapes up to a given one need. A launch over no blocks is none.
    Raises :class:`ValueError` where a row is not there.
    """

    rows: tuple[Row, ...]
    workspace: int
    launches: tuple[Launch, ...]

    def __post_init__(self) -> None:
        for index, (rule, left, right) in enumerate(self.rows):
            bound = {Rule.CONSTANT: LARGEST, Rule.SIZE: 2}.get(Rule(rule), index)
            if not 0 <= left < bound or (rule in _PAIRS and not 0 <= right < bound):
                raise ValueError(f"row {index}, {(rule, left, right)}, refers to what is not there")
        used = [self.workspace, *(number for launch in self.launches for number in _numbers(launch))]
        if not all(0 <= number < len(self.rows) for number in used):
            raise ValueError(f"a launch refers to a row beyond {len(self.rows)}")

    def at(self, tokens: int, keep: int) -> tuple[int, tuple[Launch, ...]]:
        """Bytes of workspace and launches where ``keep`` of ``tokens`` stay.

        Raises :class:`ValueError` where a number is not an int32 of at least 0.
        """
        values = self._values(tokens, keep)
        launches = tuple(_worked_out(launch, values) for launch in self.launches)
        return values[self.workspace], tuple(launch for launch in launches if 0 not in launch.grid)

    def _values(self, tokens: int, keep: int) -> list[int]:
        values = list[int]()
        for rule, left, right in self.rows:
            if rule in _PAIRS:
                if rule == Rule.CEILING and values[right] == 0:
                    raise ValueError(f"a quotient by zero where {keep} of {tokens} tokens stay")
                value = _PAIRS[rule](values[left], values[right])
            else:
                value = left if rule == Rule.CONSTANT else (tokens, keep)[left]
            if not 0 <= value <= LARGEST:
                raise ValueError(f"{value} does not fit the 32 bits of a launch, where {keep} of {tokens} tokens stay")
            values.append(value)
        return values


@dataclass(frozen=True)
class Formula:
    """A number on a sheet."""

    sheet: Sheet
    row: int

    def __add__(self, other: Formula | int) -> Formula:
        return self.sheet.row(Rule.SUM, self, other)

    def __mul__(self, other: Formula | int) -> Formula:
        return self.sheet.row(Rule.PRODUCT, self, other)

    __rmul__ = __mul__

    def over(self, other: Formula | int) -> Formula:
        """The quotient, rounded up."""
        return self.sheet.row(Rule.CEILING, self, other)

    def below(self, other: Formula | int) -> Formula:
        """1 where this is less than the other, otherwise 0."""
        return self.sheet.row(Rule.BELOW, self, other)


class Sheet:
    """A recipe under construction: rows, each once, launches, and a workspace of which parts are handed out."""

    def __init__(self) -> None:
        self._rows: dict[Row, int] = {}
        self._launches: list[Launch] = []
        self.tokens, self.keep = (self._add((Rule.SIZE, index, 0)) for index in range(2))
        self._workspace = self.number(0)

    def number(self, value: Formula | int) -> Formula:
        return value if isinstance(value, Formula) else self._add((Rule.CONSTANT, value, 0))

    def row(self, rule: Rule, left: Formula | int, right: Formula | int) -> Formula:
        return self._add((rule, self.number(left).row, self.number(right).row))

    def take(self, size_bytes: Formula) -> Workspace:
        """The next part of the workspace, aligned."""
        part = Workspace(self._workspace.row)
        self._workspace += size_bytes.over(ALIGNMENT) * ALIGNMENT
        return part

    def int32(self, value: Formula | int) -> Int32:
        return Int32(self.number(value).row)

    def launch(
        self, kernel: str, blocks: Formula, threads: int, shared_bytes: Formula | int, arguments: Sequence[Argument]
    ) -> None:
        """The next launch, over ``blocks`` blocks along x of ``threads`` threads."""
        one, block, shared = (self.number(value).row for value in (1, threads, shared_bytes))
        self._launches.append(Launch(kernel, (blocks.row, one, one), (block, one, one), shared, tuple(arguments)))

    def recipe(self) -> Recipe:
        return Recipe(tuple(self._rows), self._workspace.row, tuple(self._launches))

    def _add(self, row: Row) -> Formula:
        return Formula(self, self._rows.setdefault(row, len(self._rows)))


def _numbers(launch: Launch) -> list[int]:
    arguments = [each for each in launch.arguments if not isinstance(each, Tensor)]
    values = [each.offset if isinstance(each, Workspace) else each.value for each in arguments]
    return [*launch.grid, *launch.block, launch.shared_bytes, *values]


def _worked_out(launch: Launch, values: Sequence[int]) -> Launch:
    def argument(each: Argument) -> Argument:
        if isinstance(each, Tensor):
            return each
        return Workspace(values[each.offset]) if isinstance(each, Workspace) else Int32(values[each.value])

    def dims(rows: Dim3) -> Dim3:
        x, y, z = (values[row] for row in rows)
        return x, y, z

    return replace(
        launch, grid=dims(launch.grid), block=dims(launch.block), shared_bytes=values[launch.shared_bytes],
        arguments=tuple(map(argument, launch.arguments)),
    )  # fmt: skip
