"""Several images on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from clasp_trt.bundle import Bundle
from tests.cli.conftest import Clasp, Refused
from tests.house import ROOT
from tests.mistakes import says

Built = Callable[..., Bundle]
QUESTION = "What has changed?"
PHOTOS = ROOT / "examples" / "photos"


@pytest.fixture(scope="module")
def several(built: Built) -> Path:
    """Requests with up to two images, of which a third of the tokens stays."""
    return built(max_images=2, budget="1/3").root


@pytest.fixture(scope="module")
def asked(several: Path) -> list[str | Path]:
    return [several, "--image", PHOTOS / "coffee.jpg", "--image", PHOTOS / "chelsea.jpg"]


def test_run(clasp: Clasp, asked: list[str | Path]) -> None:
    told = [
        json.loads(clasp("run", *asked, "--prompt", prompt, "--max-new-tokens", "6", "--json").out)
        for prompt in (QUESTION, f"<image>\n<image>\n{QUESTION}", f"From <image> to <image>. {QUESTION}")
    ]
    assert [each["visual_tokens"] for each in told] == [32, 32, 32]
    assert told[0]["kept"] == told[1]["kept"]
    assert told[0]["text"] == told[1]["text"] != told[2]["text"]
    assert max(told[0]["kept"][0]["indices"]) > 15 > min(told[0]["kept"][0]["indices"])


def test_one_image_loses_its_own_share(clasp: Clasp, several: Path) -> None:
    told = clasp("run", several, "--image", PHOTOS / "coffee.jpg", "--prompt", QUESTION, "--max-new-tokens", "1")
    stages = Bundle.open(several).manifest.schedule.keeps_of(16)
    assert " -> ".join(["16 visual tokens", *map(str, stages)]) in told.err


def test_show_draws_each(clasp: Clasp, asked: list[str | Path], tmp_path: Path) -> None:
    done = clasp("show", *asked, "--prompt", QUESTION, "-o", tmp_path / "kept.png")
    assert (done.code, done.err) == (0, "")
    ran = clasp("run", *asked, "--prompt", QUESTION, "--max-new-tokens", "1", "--show", tmp_path / "ran.png")
    assert ran.code == 0
    with Image.open(tmp_path / "kept.png") as sheet, Image.open(tmp_path / "ran.png") as other:
        assert sheet.height > 2 * 448
        assert sheet.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("prompt", "facts"),
    [("What is <image>?", ("<image>", "1 times", "2 images")), ("<image> " * 3 + "?", ("<image>", "3 times"))],
)
def test_a_prompt_that_places_another_number(
    refused: Refused, asked: list[str | Path], prompt: str, facts: tuple[object, ...]
) -> None:
    says(refused("run", *asked, "--prompt", prompt), *facts)


@pytest.mark.parametrize("command", [["run"], ["show", "-o", "kept.png"], ["verify", "--against", "."]])
def test_more_than_the_bundle_takes(refused: Refused, asked: list[str | Path], command: list[str]) -> None:
    line = refused(*command, *asked, "--image", "third.png", "--prompt", QUESTION)
    says(line, "3 images", "2 images", "--max-images 3")


def test_inspect_and_plan_tell(clasp: Clasp, several: Path, checkpoint: Path) -> None:
    assert "16-32 tokens of up to 2 images" in clasp("inspect", several).out
    options = ["--target", "orin-agx-64", "--precision", "fp16", "--max-context", "96", "--budget", "1/2"]
    options += ["--prompt-tokens", "20"]
    planned = json.loads(clasp("plan", checkpoint, *options, "--max-images", "2", "--json").out)
    assert planned["schedule"]["tokens"] == 32
    assert "2 images" in planned["assumptions"][0]
    alone = json.loads(clasp("plan", checkpoint, *options, "--json").out)
    seen, once = (each["pruned"]["times"]["stages"][0]["ms"] for each in (planned, alone))
    assert seen >= once


def test_a_context_too_short_for_all_of_them(refused: Refused, checkpoint: Path, tmp_path: Path) -> None:
    line = refused("build", checkpoint, "-o", tmp_path / "out", "--max-images", "6", "--max-context", "96")
    says(line, "--max-context 96", "96 visual tokens", 112)


def test_clips_are_refused_by_name(refused: Refused, several: Path) -> None:
    says(refused("run", several, "--video", "walk.mp4", "--prompt", QUESTION), several, "no clips", "media.video")


def test_eval_asks_about_several(clasp: Clasp, refused: Refused, several: Path, bundle: Path, tmp_path: Path) -> None:
    images = [str(PHOTOS / name) for name in ("coffee.jpg", "chelsea.jpg")]
    row = {"image": images, "prompt": "From <image> to <image>?", "answer": "yes"}
    data = tmp_path / "D.jsonl"
    data.write_text(json.dumps(row) + "\n" + json.dumps({**row, "image": images[0], "prompt": "Is it?"}) + "\n")
    told = json.loads(clasp("eval", several, "--data", data, "--method", "clasp", "--json").out)
    assert (told["questions"], told["pictures"]) == (2, 1)
    says(refused("eval", bundle, "--data", data), "D.jsonl:1", "2 images", "--max-images 2")
