"""Medians, ratios, who is left out, and the goals."""

from __future__ import annotations

import pytest

from benchmarks.peers import goals, table
from benchmarks.peers.lineup import LINEUP
from benchmarks.peers.rounds import Taken
from benchmarks.peers.table import Row
from tests.benchmarks.peers.fakes import entrant, sample


def row(name: str, *, peer: str = "openvino", ttft: float = 100, tpot: float = 10, memory: float = 2000) -> Row:
    return Row(name, peer, "tinyllama-1.1b", "", 2, ttft, tpot, memory, 1.0, 639, 3)


def test_medians_of_times_and_the_greatest_memory() -> None:
    answers = [sample(5, 1, 1, 9, memory=10), sample(1, 2, 3, 4, memory=30), sample(100, 5, 6, 7, memory=20)]
    (found,) = table.rows([Taken(entrant("a"), 2, answers, [3, 1, 2])])
    assert (found.ttft_ms, found.tpot_ms, found.peak_rss_mb, found.load_s) == (5, 4, 30, 2)
    assert (found.threads, found.rounds, found.prompt_tokens) == (2, 3, 639)


def test_whoever_is_left_out_is_named_and_has_no_row() -> None:
    taken = [
        Taken(entrant("quick"), 2, [sample(1)], [1]),
        Taken(entrant("gone"), 2, [sample(1)], [1], left_out="it broke"),
    ]
    without = {"absent": "not installed", **table.left_out(taken)}
    text = table.text(table.rows(taken), without)
    assert "| quick |" in text
    assert "| gone |" not in text
    assert [line for line in text.splitlines() if line.startswith("Left out")] == [
        "Left out: absent: not installed",
        "Left out: gone: it broke",
    ]


def test_ratios_are_against_the_faster_transformers_each_figure_for_itself() -> None:
    found = [
        row("sdpa", peer="transformers", ttft=100, tpot=50),
        row("compiled", peer="transformers", ttft=200, tpot=40),
        row("ours", peer="clasp-trt", ttft=20, tpot=10),
    ]
    last = table.text(found, {}).splitlines()[-1]
    assert "| 20 ms | 0.20 | 10 ms | 0.25 |" in last


def test_a_part_is_said_and_its_first_token_is_held_against_nobody() -> None:
    taken = [
        Taken(entrant("sdpa", peer="transformers"), 2, [sample(100)], [1]),
        Taken(entrant("some", part="decoder alone"), 2, [sample(50)], [1]),
    ]
    assert "| some (decoder alone) | 50 ms | - |" in table.text(table.rows(taken), {})


@pytest.mark.parametrize("goal", goals.GOALS, ids=lambda goal: goal.what)
def test_goals_name_rows_that_there_are(goal: goals.Goal) -> None:
    assert {*goal.ours, *goal.theirs} <= {each.name for each in LINEUP}


def test_goals_are_reached_missed_or_not_measured() -> None:
    found = [
        row("transformers sdpa", ttft=1000, tpot=100),
        row("clasp-trt INT8 budget 64", ttft=150),
        row("clasp-trt INT8 unpruned", ttft=501),
        row("clasp-trt INT4 budget 64", ttft=700, tpot=30, memory=1601),
    ]
    told = {str(each["goal"]): each for each in goals.judged(found)}
    verdicts = [each["verdict"] for each in told.values()]
    assert verdicts == ["reached", "not measured", "not measured", "missed", "reached", "not measured", "missed"]
    assert told["time per token in INT4, of transformers' best"]["value"] == pytest.approx(0.3)
    assert "| 1600 | 1601 | missed |" in goals.text([*told.values()])
