"""The table of places inside the tower of the shipped checkpoint."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from benchmarks import tower_places


@pytest.mark.full
def test_a_place_has_its_line() -> None:
    done = CliRunner().invoke(tower_places.main, ["--blocks", "2", "--shares", "50%", "--pictures", "2"])
    assert done.exception is None
    *_, whole, place = (line.split() for line in done.output.splitlines())
    assert (whole[0], whole[-1]) == ("whole", "1.00")
    assert place[0] == "2:50%"
    assert 0.5 < float(place[-1]) < 0.8
