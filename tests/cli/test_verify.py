"""``clasp-trt verify``: a table or a document, exit 2 with the stage that drifts, one line for every mistake."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Clasp, Refused

pytest.importorskip("polygraphy")


def test_whole(clasp: Clasp, bundle: Path) -> None:
    done = clasp("verify", bundle)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"whole      27 files, 12 graphs: {bundle}\n"


def test_agrees(clasp: Clasp, bundle: Path, checkpoint: Path) -> None:
    done = clasp("verify", bundle, "--against", checkpoint)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[1] == f"against    {checkpoint}, fp32: at most 8 times what the precision costs"
    rows = [line.split() for line in lines[4:-1]]
    assert {row[-1] for row in rows} == {"ok"}
    assert lines[-1] == f"agrees     {len(rows)} outputs"


def test_json(clasp: Clasp, bundle: Path, checkpoint: Path, photo: Path) -> None:
    asked = ("--image", photo, "--prompt", "How many cups?")
    done = clasp("verify", bundle, "--against", checkpoint, *asked, "--json")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert told["integrity"] == {"files": 27, "graphs": 12, "skipped": []}
    parity = told["parity"]
    assert (parity["category"], parity["first_drift"], parity["cause"]) == ("counting", None, None)
    assert all(check["error"] <= check["tolerance"] for check in parity["checks"])


def test_drift_is_told_and_then_refused(clasp: Clasp, bundle: Path, tmp_path: Path) -> None:

    from examples.random_llava import PRESETS, make

    other = make(tmp_path / "other", PRESETS["tiny"], seed=99)
    done = clasp("verify", bundle, "--against", other, "--json")
    assert done.code == 2
    assert json.loads(done.out)["parity"]["first_drift"]["stage"] == "vision"
    assert done.err.startswith(f"error: {bundle}: graphs/vision.onnx: ")
    assert done.err.count("\n") == 1


def test_damaged_file(refused: Refused, bundle: Path, tmp_path: Path) -> None:
    root = tmp_path / "damaged"
    shutil.copytree(bundle, root)
    weights = root / "graphs" / "embed.onnx.data"
    weights.write_bytes(weights.read_bytes()[::-1])
    assert refused("verify", root).startswith(f"{root}: graphs/embed.onnx.data: its SHA-256 is ")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--prompt hi", "are for a comparison; give --against too"),
        ("--revision v1", "--revision are for a comparison; give --against too"),
        ("--against absent", "absent is not a folder"),
        ("--against absent --prompt ", "the prompt is empty; ask something"),
        ("--against absent --image absent.png", "absent.png"),
    ],
)
def test_mistakes(refused: Refused, bundle: Path, options: str, expected: str) -> None:
    assert expected in refused("verify", bundle, *options.split(" "))


def test_missing_package(refused: Refused, bundle: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clasp_trt.extras.find_spec", lambda name: None if name == "transformers" else name)
    assert refused("verify", bundle, "--against", checkpoint) == (
        "verify --against needs transformers, which is not installed; pip install 'clasp-trt[export,profile]'"
    )


def test_prompt_that_does_not_fit(refused: Refused, bundle: Path, checkpoint: Path) -> None:
    line = refused("verify", bundle, "--against", checkpoint, "--prompt", "cat " * 200)
    assert "positions of the bundle's 96" in line
