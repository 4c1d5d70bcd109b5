"""The solver of schedules: the counts whose mean over the decoder's layers is nearest to a budget.

``docs/schedule.md`` explains it and lists what it achieves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NoReturn

from clasp_trt.errors import ScheduleError
from clasp_trt.published import PUBLISHED_KEEPS, PUBLISHED_LAYERS, PUBLISHED_PRUNE_LAYERS, PUBLISHED_TOKENS

_TICKS = 1 << 40  # bisection steps between nominal ratio 0 and 1: far finer than one token of any image


def lengths_of(layers: int, prune_layers: Sequence[int]) -> tuple[int, ...]:
    """Layers that run all tokens, then the layers that run what each stage kept."""
    edges = [0, *(layer + 1 for layer in prune_layers), layers]
    return tuple(end - start for start, end in pairwise(edges))


def total(tokens: int, keeps: Sequence[int], lengths: Sequence[int]) -> int:
    """Visual tokens summed over layers."""
    return sum(count * length for count, length in zip((tokens, *keeps), lengths, strict=True))


def rounded(tokens: int, fractions: Sequence[Fraction]) -> tuple[int, ...]:
    """Fractions as integers ``tokens > R1 > R2 > ... >= 1``, none of which falls when a fraction rises."""
    keeps: list[int] = []
    below = 0
    for place in range(len(fractions), 0, -1):  # the last stage first: each one keeps more than its successor
        nearest = int(tokens * fractions[place - 1] + Fraction(1, 2))
        below = min(max(nearest, below + 1), tokens - place)
        keeps.append(below)
    return tuple(reversed(keeps))


def solve_keeps(tokens: int, target: int, prune_layers: Sequence[int], lengths: Sequence[int]) -> tuple[int, ...]:
    """The token counts on the path of rounded fractions whose sum over layers is nearest to ``target``.

    As the nominal ratio rises from 0 to 1, the rounded counts rise one by one from ``(n, ..., 2, 1)`` to
    ``(tokens - 1, ..., tokens - n)``. Staying on that path is what makes the result monotone in the budget.
    """
    fractions = _curves(sum(lengths), prune_layers)
    low, high = 0, _TICKS
    while high - low > 1:
        middle = (low + high) // 2
        reached = total(tokens, rounded(tokens, fractions(Fraction(middle, _TICKS))), lengths)
        low, high = (middle, high) if reached <= target else (low, middle)
    path = _steps(*(rounded(tokens, fractions(Fraction(tick, _TICKS))) for tick in (low, high)))
    return min(path, key=lambda keeps: abs(total(tokens, keeps, lengths) - target))


def _steps(low: tuple[int, ...], high: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """From ``low`` to ``high`` stage by stage, the first one first, so that the counts stay descending."""
    for raised in range(len(low) + 1):
        yield high[:raised] + low[raised:]


def _fraction_table() -> tuple[tuple[Fraction, tuple[Fraction, ...]], ...]:
    """Rows (nominal ratio, fraction of the tokens kept at each of :func:`_depths`); no column descends.

    The three inner columns are the published fractions; 300 after 303 at the largest budget becomes 303,
    because a larger budget must never keep fewer. The outer ones, for prune layers beyond the published ones,
    are ours: before the decoder, half way from the first stage to all tokens; at its end, half of what the
    last stage keeps.
    """
    rows: list[tuple[Fraction, tuple[Fraction, ...]]] = [(Fraction(0), (Fraction(0),) * 5)]
    for budget in sorted(PUBLISHED_KEEPS):
        first, second, third = (Fraction(keep, PUBLISHED_TOKENS) for keep in PUBLISHED_KEEPS[budget])
        row = ((1 + first) / 2, first, second, third, third / 2)
        below = rows[-1][1]
        rows.append((Fraction(budget, PUBLISHED_TOKENS), tuple(map(max, row, below))))
    return (*rows, (Fraction(1), (Fraction(1),) * 5))


def _depths() -> tuple[Fraction, ...]:
    """Relative depths (share of the decoder already run) of the columns of :func:`_fraction_table`."""
    inner = (Fraction(layer + 1, PUBLISHED_LAYERS) for layer in PUBLISHED_PRUNE_LAYERS)
    return (Fraction(0), *inner, Fraction(1))


_TABLE = _fraction_table()
_DEPTHS = _depths()


def _between(at: Fraction, x: Sequence[Fraction], y: Sequence[Fraction]) -> Fraction:
    """The piecewise-linear function through the points ``(x, y)``, ``x`` ascending, within their range."""
    i = next(i for i in range(1, len(x)) if at <= x[i])
    return y[i - 1] + (y[i] - y[i - 1]) * (at - x[i - 1]) / (x[i] - x[i - 1])


def _curves(layers: int, prune_layers: Sequence[int]) -> Callable[[Fraction], list[Fraction]]:
    """The function from nominal ratio to the fraction of the tokens that each stage keeps."""
    ratios = [ratio for ratio, _ in _TABLE]
    depths = [Fraction(layer + 1, layers) for layer in prune_layers]
    columns = [[_between(depth, _DEPTHS, row) for _, row in _TABLE] for depth in depths]
    return lambda ratio: [_between(ratio, ratios, column) for column in columns]


def check_reachable(tokens: int, budget: int, prune_layers: Sequence[int], lengths: Sequence[int]) -> None:
    """The budget lies between the means of the smallest and the largest strictly descending schedule."""
    layers, stages = sum(lengths), len(prune_layers)
    if stages >= tokens:
        raise ScheduleError(f"{stages} pruning stages need at least {stages + 1} visual tokens, got {tokens}")
    least = total(tokens, range(stages, 0, -1), lengths)
    most = total(tokens, range(tokens - 1, tokens - 1 - stages, -1), lengths)
    if budget * layers < least:
        _refuse_low(tokens, budget, prune_layers[0], -(-least // layers), most // layers)
    if budget * layers > most:
        raise ScheduleError(
            f"budget: {budget} of {tokens} visual tokens is more than {stages} stages can keep on average;"
            f" ask for at most {most // layers}, or use --prune-at none"
        )


def _refuse_low(tokens: int, budget: int, first: int, minimum: int, maximum: int) -> NoReturn:
    unpruned = "layer 0 runs" if first == 0 else f"layers 0-{first} run"
    cures = ["use --prune-at encoder"]
    if first > 0:
        cures.insert(0, "prune earlier with --prune-layers")
    if minimum <= maximum:
        cures.insert(0, f"ask for at least {minimum}")
    raise ScheduleError(
        f"budget: {budget} is out of reach while {unpruned} all {tokens} visual tokens; {', or '.join(cures)}"
    )
