"""No command replaces, changes or removes what it reads, and no stranger's folder keeps a later one from its work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from tests.cli.conftest import Clasp, Refused
from tests.mistakes import says
from tests.storage.test_leftovers import DEEP, nest


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def mine(portable: Path, tmp_path: Path) -> Path:
    """A portable bundle of one's own."""
    return Path(shutil.copytree(portable, tmp_path / "outer" / "mine"))


@pytest.mark.parametrize("place", [".", "../mine/.", "out", "..", "../../link"])
def test_build_spares_the_bundle_that_it_completes(refused: Refused, mine: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "link").symlink_to(mine)
    before = contents(tmp_path)
    says(refused("build", mine, "-o", mine / place, "--force"), mine)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("option", ["--router", "--policy"])
def test_build_spares_what_its_options_name(refused: Refused, checkpoint: Path, mine: Path, option: str) -> None:
    """A bundle is a legal router folder, and holds a policy."""
    given = mine if option == "--router" else mine / "policy.json"
    before = contents(mine)
    says(refused("build", checkpoint, "-o", mine, "--budget", "8", option, given, "--force"), mine, given)
    says(refused("export", checkpoint, "-o", mine, "--budget", "8", option, given, "--force"), mine, given)
    assert contents(mine) == before


def test_export_spares_its_checkpoint(refused: Refused, checkpoint: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(checkpoint, tmp_path / "copied"))
    (copied / "clasp.json").write_text("{")  # by which it would pass for a damaged bundle
    before = contents(copied)
    for out in (copied, copied / "out", tmp_path):
        refused("export", copied, "-o", out, "--budget", "8", "--force")
    assert contents(copied) == before


def test_router_train_spares_its_prompts_and_bundles(refused: Refused, mine: Path, tmp_path: Path) -> None:
    data = tmp_path / "router.json"
    data.write_text('{"prompt": "How many?", "category": "counting"}\n')
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "router.onnx").symlink_to(data)
    before = contents(tmp_path)
    for folder in (tmp_path, tmp_path / "other"):
        says(refused("router", "train", "--data", data, "-o", folder), data)
    says(refused("router", "train", "-o", mine), mine, "bundle")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", ["run", "show"])
def test_a_picture_of_tokens_is_not_drawn_over_the_picture(
    refused: Refused, bundle: Path, photo: Path, tmp_path: Path, command: str
) -> None:
    picture = Path(shutil.copy(photo, tmp_path / "photo.jpg"))
    option = {"run": "--show", "show": "-o"}[command]
    for place in (picture, tmp_path / "." / "photo.jpg", bundle / "kept.png"):
        says(refused(command, bundle, "--image", picture, "--prompt", "What?", option, place), place)
    assert picture.read_bytes() == photo.read_bytes()
    Bundle.open(bundle)


def test_files_of_results_stay_out_of_bundles_and_inputs(refused: Refused, bundle: Path, tmp_path: Path) -> None:
    data = tmp_path / "questions.jsonl"
    data.write_text('{"image": "x.png", "prompt": "How many?", "answer": "1"}\n')
    for place in (bundle / "answers.jsonl", data):
        says(refused("eval", bundle, "--data", data, "-o", place), place)
    says(refused("profile", bundle, "--plot", bundle / "plot.png"), bundle / "plot.png")
    says(refused("calibrate", bundle, "--data", data, "-o", data, "--force"), data)
    assert "How many?" in data.read_text()
    Bundle.open(bundle)


def test_folders_that_a_stranger_nested_do_not_outlast_a_force(
    clasp: Clasp, portable: Path, bundle: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(bundle, tmp_path / "out"))
    nest(out, DEEP)
    for _ in range(2):  # the second finds nothing of the first
        done = clasp("build", portable, "-o", out, "--force")
        assert (done.code, done.err.count("Traceback")) == (0, 0), done
        assert os.listdir(tmp_path) == ["out"]
    Bundle.open(out, verify=True)
