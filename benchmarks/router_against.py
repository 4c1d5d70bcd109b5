"""What a router decides better or worse than an earlier one: ``python -m benchmarks.router_against BEFORE``.

``BEFORE`` is a folder with an earlier ``router.onnx`` and ``router.json``. Both decide the built-in held-out prompts at
the prior's threshold. A phrasing gives many prompts, so the interval of a difference comes from drawing phrasings with
replacement, 2,000 times.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from clasp_trt.policy import CATEGORY_NAMES, PRIOR_THRESHOLD
from clasp_trt.runtime.routing.folder import SHIPPED, load_router
from clasp_trt.tools.routers.phrases import Phrases
from clasp_trt.tools.routers.prompts import HELD_OUT, Labelled, generate
from clasp_trt.tools.routers.train import PER_CATEGORY

DRAWS = 2000


@dataclass(frozen=True)
class Difference:
    """Shares of right decisions about the prompts of a kind, and the 95 % interval of what changed."""

    kind: str
    prompts: int
    phrasings: int
    before: float
    now: float
    interval: tuple[float, float]


def compare(before: Path, now: Path = SHIPPED, per_category: int = PER_CATEGORY[HELD_OUT]) -> list[Difference]:
    """One for each kind of phrasing, in the order of the categories."""
    phrases = Phrases.load()
    prompts = generate(phrases, per_category={HELD_OUT: per_category}, seed=0)[HELD_OUT]
    kinds = np.array([phrases.kinds.get(item.source, item.category) for item in prompts])
    sources = np.array([item.source for item in prompts])
    first, second = (_right(router, prompts) for router in (before, now))
    found = []
    for kind in dict.fromkeys(kinds.tolist()):
        of = kinds == kind
        change = second[of].astype(np.int64) - first[of]
        _, phrasing = np.unique(sources[of], return_inverse=True)
        found.append(
            Difference(
                kind,
                int(of.sum()),
                int(phrasing.max()) + 1,
                float(first[of].mean()),
                float(second[of].mean()),
                interval(change, phrasing),
            )
        )
    return found


def interval(change: NDArray[np.int64], phrasing: NDArray[np.int64]) -> tuple[float, float]:
    """The middle 95 % of the mean ``change`` ``[prompts]`` when whole phrasings are drawn; ``phrasing`` are their
    numbers ``[prompts]``."""
    sums, sizes = np.bincount(phrasing, change), np.bincount(phrasing)
    drawn = np.random.default_rng(0).integers(0, len(sums), (DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _right(router: Path, prompts: tuple[Labelled, ...]) -> NDArray[np.bool_]:
    chosen = load_router(router, CATEGORY_NAMES, PRIOR_THRESHOLD)
    return np.array([chosen.route(item.prompt).name == item.category for item in prompts])


@click.command()
@click.argument("before", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--router", type=click.Path(exists=True, file_okay=False, path_type=Path), default=SHIPPED)
def main(before: Path, router: Path) -> None:
    print("| kind | prompts | phrasings | before | now | difference, 95 % |\n|---|---|---|---|---|---|")
    for each in compare(before, router):
        low, high = each.interval
        print(
            f"| {each.kind} | {each.prompts} | {each.phrasings} | {each.before:.1%} | {each.now:.1%} | "
            f"{100 * (each.now - each.before):+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) |"
        )


if __name__ == "__main__":
    main()
