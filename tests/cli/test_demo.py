"""``clasp-trt demo``: answers side by side, a picture, and figures that agree with them; here on random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.tools.demo import shipped
from clasp_trt.tools.demo.bundles import bundles
from tests.cli.conftest import Clasp, Refused


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an earlier run left its bundles."""
    made = tmp_path_factory.mktemp("demo") / "work"
    bundles(checkpoint, made, (), lambda phase, done, total: None)
    return made


@pytest.fixture
def told(clasp: Clasp, folder: Path, checkpoint: Path) -> dict[str, Any]:
    done = clasp("demo", folder, "--checkpoint", checkpoint, "--json")
    assert (done.code, done.err) == (0, "")
    value: dict[str, Any] = json.loads(done.out)
    return value


@pytest.mark.full
def test_plain_text_of_80_columns(clasp: Clasp, folder: Path, checkpoint: Path) -> None:
    done = clasp("demo", folder, "--checkpoint", checkpoint)
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    lines = done.out.splitlines()
    assert [line for line in lines if len(line) > 80 and "/" not in line] == []  # paths are as long as they are
    assert [line for line in lines if line != line.rstrip()] == []
    assert lines[0].startswith("found 3 bundles of")
    assert "  third     16 -> 8 -> 6 -> 3 visual tokens" in done.out
    assert "each category, which is given rather than routed" in " ".join(lines)
    assert sum(line.count(" ms") for line in lines) == 3 * len(CATEGORY_NAMES) + 3
    assert lines[-2] == f"what was kept: {folder}/kept.png"
    assert lines[-1].startswith(f"next: clasp-trt show {folder}/ninth --image")


@pytest.mark.full
def test_figures_agree_with_the_answers(told: dict[str, Any]) -> None:
    assert [question["category"] for question in told["questions"]] == list(CATEGORY_NAMES)
    assert told["category"] == "given"
    for made in told["bundles"]:
        answers = [question["answers"][made["name"]] for question in told["questions"]]
        assert made["right"] == sum(answer["right"] for answer in answers)
        times = sorted(answer["ttft_ms"] for answer in answers)
        assert made["median_ttft_ms"] == times[len(times) // 2]
    assert [made["keeps"] for made in told["bundles"]] == [[], [8, 6, 3], [3, 2, 1]]


@pytest.mark.full
def test_picture_lies_beside_the_bundles(told: dict[str, Any], folder: Path) -> None:
    assert told["picture"] == f"{folder}/kept.png"
    with Image.open(folder / "kept.png") as picture:
        assert picture.width > 1200
    assert sorted(path.name for path in folder.iterdir()) == ["kept.png", "made-of.json", "ninth", "third", "unpruned"]


@pytest.mark.full
def test_first_run_builds(clasp: Clasp, checkpoint: Path, tmp_path: Path) -> None:
    done = clasp("demo", tmp_path / "new", "--checkpoint", checkpoint, "--budget", "8")
    assert (done.code, done.err) == (0, "")  # no progress bar in a pipe
    assert done.out.startswith("built 2 bundles of")
    assert "  budget-8  16 -> 7 -> 5 -> 4 visual tokens, 8.0 on average over 4 layers\n" in done.out
    made = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert made == ["budget-8", "kept.png", "made-of.json", "unpruned"]


def test_copy_without_the_checkpoint(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "CHECKPOINT", tmp_path / "clasp-tiny")
    assert "has no checkpoint for the demo" in refused("demo", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--budget", "8", "--budget", "8"], "--budget may be given up to 3 times, each with another number"),
        (["--budget", "8", "--budget", "7", "--budget", "6", "--budget", "5"], "--budget may be given up to 3 times"),
        (["--budget", "0"], "invalid value for '--budget'"),
        (["--checkpoint", "absent"], "absent holds no config.json"),
    ],
)
def test_mistakes_leave_nothing(
    refused: Refused, checkpoint: Path, tmp_path: Path, options: list[str], expected: str
) -> None:
    assert refused("demo", tmp_path / "out", "--checkpoint", checkpoint, *options).startswith(expected)
    assert list(tmp_path.iterdir()) == []


def test_output_that_is_a_file(refused: Refused, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    assert "is a file" in refused("demo", tmp_path / "out", "--checkpoint", checkpoint)
    assert (tmp_path / "out").read_text() == "mine"
