"""A bundle whose tower drops patches, on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from tests.cli.conftest import Clasp, Refused
from tests.mistakes import says

PHOTO = Path(__file__).parents[2] / "examples" / "photos" / "chelsea.jpg"


@pytest.fixture
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built(prune_tower="1:10", prune_at="none")


def test_inspected(bundle: Bundle, clasp: Clasp) -> None:
    assert "16 -> 10 after block 1 of the tower" in clasp("inspect", bundle.root).out
    told = json.loads(clasp("inspect", bundle.root, "--json").out)
    assert told["manifest"]["schedule"]["tower"] == {"after_block": 1, "keep": 10, "of": 16}
    assert told["mean_visual_tokens"] == 10


def test_shown(bundle: Bundle, tmp_path: Path, clasp: Clasp) -> None:
    asked = ("show", bundle.root, "--image", PHOTO, "--prompt", "How many?", "-o", tmp_path / "kept.png", "--json")
    told = json.loads(clasp(*asked).out)
    (tower,) = told["kept"]
    assert (tower["tower_block"], tower["after_layer"], len(tower["indices"])) == (1, -1, 10)
    assert tower["indices"] == sorted({*tower["indices"]} & {*range(16)})
    assert (told["visual_tokens"], told["mean_visual_tokens"]) == (16, 10)


@pytest.mark.full
def test_verified(bundle: Bundle, checkpoint: Path, clasp: Clasp) -> None:
    done = clasp("verify", bundle.root, "--against", checkpoint, "--json")
    assert done.code == 0
    checks = json.loads(done.out)["parity"]["checks"]
    assert {"kept", "patch_saliency"} <= {check["output"] for check in checks if check["stage"] == "vision"}


def test_planned(checkpoint: Path, clasp: Clasp) -> None:
    asked = ("plan", checkpoint, "--target", "l4", "--precision", "fp16", "--prune-at", "none", "--json")
    told = json.loads(clasp(*asked, "--prune-tower", "1:4").out)
    assert told["schedule"]["tower"]["keep"] == 4
    assert told["cache_saved_bytes"] > 0


@pytest.mark.parametrize(("asked", "facts"), [("3:50%", (3, 2)), ("1:16", (16, 15)), ("half", ("6:50%",))])
def test_refused(checkpoint: Path, refused: Refused, asked: str, facts: tuple[object, ...]) -> None:
    says(refused("plan", checkpoint, "--prune-tower", asked), "--prune-tower", *facts)
