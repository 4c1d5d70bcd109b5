"""What ``clasp-trt eval --stress`` tells: the cost of wrong categories, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clasp_trt.cli.numbers import percent, share_percent
from clasp_trt.cli.output import print_table

if TYPE_CHECKING:
    from clasp_trt.tools.evaluate import Interval
    from clasp_trt.tools.evaluate.stress import Mixture, Stress

_LEGEND = """\
Right answers in %, with Wilson's 95 % interval (questions taken as independent)
of true: in % of those under true categories, paired by question, 95 % bootstrap over pictures
forced, at random: expected, when that share of the questions is answered under Default, or under any other category\
"""


def tell_stress(report: Stress) -> None:
    """Prints the accuracy under each choice of categories, then what shares of mistakes cost."""
    from clasp_trt.tools.evaluate.stress import DEFAULT, RANDOM, TRUE

    conditions = report.conditions
    rows = [("", *conditions)]
    for name, share in conditions[TRUE].categories.items():
        cells = (share_percent(found.categories[name]) for found in conditions.values())
        rows.append((f"{name} ({share.total})", *cells))
    rows.append((f"all ({report.questions})", *(share_percent(found.overall) for found in conditions.values())))
    compared = [found.against_true for found in conditions.values()]
    rows.append(
        ("of true", *("100.0" if each is None else _ratio(each.ratio, each.ratio_interval) for each in compared))
    )
    print_table(rows)
    click.echo()
    head = ("share of questions", "forced to default", "of true", "at random", "of true")
    pairs = zip(report.mixtures(DEFAULT), report.mixtures(RANDOM), strict=True)
    print_table(
        [head, *((f"{100 * forced.share:.0f} %", *_cells(forced), *_cells(chance)) for forced, chance in pairs)]
    )
    click.echo(f"\n{_LEGEND}")


def _cells(mixture: Mixture) -> tuple[str, str]:
    return percent(mixture.accuracy), _ratio(mixture.ratio, mixture.ratio_interval)


def _ratio(ratio: float | None, interval: Interval | None) -> str:
    return percent(ratio, interval, digits=1).strip()
