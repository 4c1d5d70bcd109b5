"""``clasp-trt show``: a picture of what any bundle keeps of any image, or one line saying why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from clasp_trt.bundle import Bundle
from clasp_trt.runtime.overlay import MEDOID, PIVOT
from tests.cli.conftest import Clasp, Refused


@pytest.fixture
def line(bundle: Path, photo: Path, tmp_path: Path) -> list[str | Path]:
    return ["show", bundle, "--image", photo, "--prompt", "How many cups?", "-o", tmp_path / "kept.png"]


def test_picture_and_a_line_of_facts(clasp: Clasp, line: list[str | Path], tmp_path: Path) -> None:
    done = clasp(*line)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"[counting] 16 visual tokens -> 7 -> 5 -> 4 | {tmp_path}/kept.png\n"
    colours = {colour for _, colour in Image.open(tmp_path / "kept.png").getcolors(1 << 24) or []}
    assert {PIVOT, MEDOID} <= colours
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.png"]


def test_same_picture_as_run(clasp: Clasp, line: list[str | Path], tmp_path: Path) -> None:
    assert clasp(*line).code == 0
    run = ["run", *line[1:-2], "--max-new-tokens", "1", "--show", tmp_path / "run.png"]
    assert clasp(*run).code == 0
    assert (tmp_path / "kept.png").read_bytes() == (tmp_path / "run.png").read_bytes()


def test_json(clasp: Clasp, line: list[str | Path], tmp_path: Path) -> None:
    done = clasp(*line, "--category", "scene understanding", "--json")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert (told["picture"], told["category"], told["method"]) == (
        str(tmp_path / "kept.png"), "scene understanding", "clasp",
    )  # fmt: skip
    assert (told["visual_tokens"], told["mean_visual_tokens"]) == (16, 8)
    assert [len(stage["indices"]) for stage in told["kept"]] == [7, 5, 4]
    assert [sum(stage["is_pivot"]) for stage in told["kept"]] == [4, 3, 2]  # floor(0.7 R), Table 6


def test_policy_takes_the_place_of_the_bundles(
    clasp: Clasp, line: list[str | Path], bundle: Path, tmp_path: Path
) -> None:
    policy = json.loads((bundle / "policy.json").read_text())
    for category in policy["categories"]:
        category["ratio"] = 0.0
    (tmp_path / "medoids.json").write_text(json.dumps(policy))
    told = json.loads(clasp(*line, "--policy", tmp_path / "medoids.json", "--json").out)
    assert [sum(stage["is_pivot"]) for stage in told["kept"]] == [0, 0, 0]
    ran = json.loads(clasp("run", *line[1:-2], "--policy", tmp_path / "medoids.json", "--json").out)
    assert ran["kept"] == told["kept"]


def test_method_chooses_by_its_own_rule(clasp: Clasp, line: list[str | Path]) -> None:
    told = json.loads(clasp(*line, "--method", "fastv", "--json").out)
    assert [sum(stage["is_pivot"]) for stage in told["kept"]] == [7, 5, 4]  # attention alone


def test_bundle_that_keeps_all(
    refused: Refused, built: Callable[..., Bundle], line: list[str | Path], tmp_path: Path
) -> None:
    unpruned = built(prune_at="none").root
    assert refused(line[0], unpruned, *line[2:]) == (
        f"{unpruned} keeps every visual token, so there is nothing to show; "
        "give a bundle that was built with --budget or --schedule"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--method", "fastvv"], "unknown pruning method 'fastvv'; did you mean 'fastv'?"),
        (["--method", "none"], "method none keeps every visual token"),
        (["--policy", "absent.json"], "absent.json: cannot be read"),
        (["--image", "absent.png"], "2 images came with the prompt, but the bundle takes 1 image"),
        (["-o", "kept.txt"], "kept.txt does not say what to write; expected a name in .png"),
        (["--category", "nonsense"], "category 'nonsense' is not in the bundle's policy"),
        (["--prompt", " "], "the prompt is empty"),
    ],
)
def test_mistakes_leave_nothing(
    refused: Refused, line: list[str | Path], tmp_path: Path, options: list[str], expected: str
) -> None:
    assert refused(*line, *options).startswith(expected)
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_is_not_there(refused: Refused, line: list[str | Path], photo: Path, tmp_path: Path) -> None:
    absent = ["absent.png" if word == photo else word for word in line]
    assert refused(*absent).startswith("there is no file absent.png; give a file")
    assert list(tmp_path.iterdir()) == []
