"""The measurement of a tower, on one that takes no time."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from benchmarks import tower

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "image_size": 56, "patch_size": 14}


@pytest.mark.full
def test_every_form_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tower, "SIZES", SMALL)
    done = CliRunner().invoke(tower.main, ["--blocks", "3", "--thinning", "1:50%", "--rounds", "1"])
    assert done.exception is None
    assert [line.split()[0] for line in done.output.splitlines()] == ["floats", "int8", "1:50%", "product", "product"]
