"""The plot: bars as long as the medians, and a picture in each format."""

from __future__ import annotations

from pathlib import Path

import pytest

from clasp_trt.tools.profile import Report
from clasp_trt.tools.profile.plot import COLOURS, FORMATS, decode_step, first_token, save
from clasp_trt.tools.profile.stages import GROUPS


def test_parts_are_as_long_as_their_medians(report: Report) -> None:
    for each in report.measurements:
        told = {name: summary.median for name, summary in each.summaries.items()}
        inner = [value for name, value in told.items() if name.startswith("decode/")]
        assert [part.milliseconds for part in decode_step(each)] == inner
        whole = {part.milliseconds for part in first_token(each)}
        assert {told["vision"], told["prefill/segment_0"], told["route/tokenize"], told["rest"]} <= whole
        assert not {told["prefill"], told["route"], told["ttft"]} & whole, "no part twice"


def test_every_segment_and_prune_has_its_part(report: Report) -> None:
    pruned, unpruned = ([part.group for part in first_token(each)] for each in report.measurements)
    assert (pruned.count("prefill"), pruned.count("prune")) == (5, 4), "embedding and similarities too"
    assert (unpruned.count("prefill"), unpruned.count("prune")) == (2, 0)


def test_every_group_has_a_colour_of_its_own() -> None:
    assert set(COLOURS) == set(GROUPS)
    assert len(set(COLOURS.values())) == len(GROUPS)


@pytest.mark.parametrize("suffix", FORMATS)
def test_picture(report: Report, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    save(tmp_path / f"plot{suffix}", report)
    begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    assert (tmp_path / f"plot{suffix}").read_bytes().startswith(begins[suffix])
