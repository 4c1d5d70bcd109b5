"""The page about a GPU is computed from results: it claims nothing that did not run, and loses nothing that failed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.gpu.harness.environment import Environment
from tests.gpu.harness.page import page
from tests.gpu.harness.results import COMPLETE, PARTS, Outcome, Results, write
from tests.house import ROOT

DOCS = ROOT / "docs"
HERE = Environment("NVIDIA H200", "9.0", "13.0", "580.159.04", 150.7, 60.0, 132, {"torch": "2.13.0", "NVRTC": "13.0"})
ROW = {"name": "clasp-trt", "agreement": 1.0, "cold_ms": 0.04, "warm_ms": 0.03}
TIMING = {
    "name": "576 tokens",
    "goals": [{"words": "at most 0.05 ms", "ms": 0.05}, {"words": "impossible", "ms": 0.01}],
    "rounds": 5,
    "samples": 50,
    "rows": [
        ROW,
        {"name": "torch direct", "agreement": 1.0, "cold_ms": 0.5, "warm_ms": 0.4},
        {"name": "other | function", "agreement": 0.5, "cold_ms": 0.001, "warm_ms": 0.001},
    ],
    "absent": {"FAISS": "which is not installed"},
    "same": 0.99,
}


def results(*outcomes: Outcome) -> Results:
    return Results("2026-11-21 07:00", "make gpu-check", HERE, outcomes)


def section(text: str, heading: str) -> str:
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_the_page_in_the_repository_is_what_its_figures_give() -> None:
    source = DOCS / "gpu-results.json"
    found = Results.from_json(source.read_text()) if source.is_file() else None
    assert (DOCS / "gpu-results.md").read_text() == page(found)


def test_as_long_as_nothing_has_run_the_page_says_so() -> None:
    text = page(None)
    assert "**Nothing of this project has run on a GPU yet.**" in text
    never = section(text, "Never run on a GPU")
    assert all(part.proves in never for part in PARTS)


def test_what_did_not_run_is_listed_with_its_reason() -> None:
    whole = Outcome("test_kernels", passed=5, ended=COMPLETE)
    none = Outcome("test_plugin_engines", skipped={"tensorrt is not installed": 4}, ended=COMPLETE)
    part = Outcome("test_generation", passed=1, skipped={"no CUDA provider": 3}, ended=COMPLETE)
    cut = Outcome("test_timing", ended="no time was left for it")
    text = page(results(whole, none, part, cut))
    never = section(text, "Never run on a GPU").splitlines()
    proves = {each.module: each.proves for each in PARTS}
    assert not any(proves["test_kernels"] in line for line in never)
    assert f"- {proves['test_plugin_engines']}: tensorrt is not installed" in never
    assert f"- of {proves['test_generation']}: no CUDA provider" in never
    assert f"- {proves['test_timing']}: no time was left for it" in never
    assert f"- {proves['test_sanitizer']}: never started" in never
    assert never[-1] == "- a GPU other than NVIDIA H200, Jetson Orin among them"
    assert "**Nothing" not in text


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Outcome("m", passed=1, ended=COMPLETE), "passed"),
        (Outcome("m", passed=1, skipped={"x": 1}, ended=COMPLETE), "passed in part"),
        (Outcome("m", skipped={"x": 1}, ended=COMPLETE), "not run"),
        (Outcome("m"), "not run"),
        (Outcome("m", ended="no time was left for it"), "not run"),
        (Outcome("m", passed=1, failed=["x"], ended=COMPLETE), "failed"),
        (Outcome("m", passed=1, ended="stopped after 60 s"), "failed"),
        (Outcome("m", ended="ended with exit code -11"), "failed"),
    ],
)
def test_verdicts(outcome: Outcome, verdict: str) -> None:
    assert outcome.verdict == verdict
    assert results(outcome).is_clean == (verdict != "failed")


def test_failures_and_crashes_are_shown() -> None:
    text = page(results(Outcome("test_kernels", failed=["test_kernels.py::test_x: boom"], ended="stopped after 60 s")))
    failed = section(text, "What failed")
    assert "- test_kernels.py::test_x: boom" in failed
    assert "- test_kernels: stopped after 60 s" in failed
    assert "| failed |" in section(text, "What ran")


def test_goals_are_judged_against_figures_and_peers_of_the_same_function() -> None:
    text = page(results(Outcome("test_timing", passed=1, facts={"timing": [TIMING]}, ended=COMPLETE)))
    assert "| torch direct | 100.0% | 0.5000 | 0.4000 |" in text
    assert "| other \\| function | 50.0% | 0.0010 | 0.0010 |" in text
    assert "Not measured: FAISS, which is not installed." in text
    assert "| 576 tokens | at most 0.05 ms | 0.0500 | 0.0400 | met |" in text
    assert "| 576 tokens | impossible | 0.0100 | 0.0400 | **missed** |" in text
    assert "the best being torch direct | 0.5000 | 0.0400 | met |" in text
    slow = {**TIMING, "rows": [{**ROW, "cold_ms": 0.6}, *TIMING["rows"][1:]]}
    text = page(results(Outcome("test_timing", passed=1, facts={"timing": [slow]}, ended=COMPLETE)))
    assert "the best being torch direct | 0.5000 | 0.6000 | **missed** |" in text


def test_results_pass_through_json() -> None:
    found = results(Outcome("test_timing", 1, ["x"], {"y": 2}, {"timing": [TIMING]}, 3.5, COMPLETE))
    assert Results.from_json(found.to_json()) == found
    assert Results.from_json(found.to_json()) != replace(found, date="2026-11-22 07:00")


def test_files_are_written_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "page.md"
    write(target, "one")
    write(target, "two")
    assert target.read_text() == "two"
    assert [path.name for path in target.parent.iterdir()] == ["page.md"]
