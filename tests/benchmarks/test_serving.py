"""The benchmark of a server: what it tells of what it measured, and that it asks at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from benchmarks import served, serving
from benchmarks.serving import Load
from clasp_trt.bundle import Bundle


def test_percentiles_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [serving.percentile(values, share) for share in (0, 0.2, 0.5, 0.95, 1)] == [1, 1, 3, 5, 5]


def test_a_row_has_the_rate_and_the_first_tokens() -> None:
    loads = [Load(100, (0.01, 0.02)), Load(300, (0.03,)), Load(200, (0.04,))]
    assert serving.row(loads) == "200 | 20 / 40 ms"


def test_no_two_pictures_are_the_same() -> None:
    assert len({served.picture(seed) for seed in range(50)}) == 50
    assert served.picture(3) == served.picture(3)


@pytest.mark.full
def test_it_measures_two_servers(built: Callable[..., Bundle]) -> None:
    found = asyncio.run(serving.measured(built().root, 2, requests=1, tokens=3, rounds=1, threads=1))
    clients, rate, _, together, _, gain = found.split(" | ")
    assert (clients, gain[:2]) == ("2", "x ")
    assert float(rate) > 0
    assert float(together) > 0
