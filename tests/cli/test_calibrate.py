"""``clasp-trt calibrate`` as a shell sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.cli.calibrate import command
from clasp_trt.policy import Policy
from clasp_trt.tools.calibrate import LEAST, Options, journal_path
from tests.cli.conftest import Clasp, Refused

PATIENCE_S = 120.0
PICTURES = 2 * LEAST + 4


@pytest.fixture(scope="session")
def several(built: Callable[..., Bundle]) -> Path:
    """A bundle with three vision layers."""
    return built(vision_layers=(1, 2)).root


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions about generated pictures in two categories."""
    from examples.shapesvqa.generate import generate

    folder = tmp_path_factory.mktemp("questions") / "shapes"
    generate(folder, split="calibration", images=PICTURES, seed=0, size=48)
    rows = (folder / "D.jsonl").read_text().splitlines(keepends=True)
    wanted = [row for row in rows if json.loads(row)["category"] in ("counting", "default")]
    (folder / "two.jsonl").write_text("".join(wanted))
    return folder / "two.jsonl"


@pytest.fixture
def line(several: Path, data: Path, tmp_path: Path) -> tuple[str | Path, ...]:
    """A command line that takes seconds."""
    parts = ("--questions", str(LEAST), "--held-out", str(LEAST), "--ratios", "0.5", "--threads", "1")
    return ("calibrate", several, "--data", data, "-o", tmp_path / "policy.json", *parts, "--max-new-tokens", "1")


def test_defaults_are_those_of_the_function() -> None:
    defaults = {parameter.name: parameter.default for parameter in command.params}
    options = Options()
    assert (defaults["questions"], defaults["held_out"]) == (options.questions, options.held_out)
    assert (defaults["seed"], defaults["max_new_tokens"]) == (options.seed, options.max_new_tokens)


@pytest.mark.full
def test_tells_what_it_found(clasp: Clasp, line: tuple[str | Path, ...], tmp_path: Path) -> None:
    done = clasp(*line)
    assert (done.code, done.err) == (0, "")
    policy = Policy.load(tmp_path / "policy.json")
    assert policy.calibrated
    table = done.out.splitlines()
    assert table[0].split() == ["category", "before", "best", "found", "gain", "tried", "rejected", "row"]
    assert [row.split("  ")[0] for row in table[1:10]] == [row.name for row in policy.categories]
    assert "kept: no questions (0 and 0)" in table[1]
    assert done.out.endswith('policy.json --image photo.jpg --prompt "..."\n')


@pytest.mark.full
def test_json(clasp: Clasp, line: tuple[str | Path, ...], tmp_path: Path) -> None:
    told = json.loads(clasp(*line, "--json").out)
    assert told["output"] == str(tmp_path / "policy.json")
    assert told["provenance"] == dict(Policy.load(tmp_path / "policy.json").provenance)
    counting = next(each for each in told["categories"] if each["category"] == "counting")
    assert (counting["questions"], counting["held_out"], counting["candidates"]) == (LEAST, LEAST, 20)
    assert counting["before"]["row"] == "layers 1.00 x 3, ratio 0.6"


@pytest.mark.full
def test_interrupted_it_says_how_to_go_on(
    clasp: Clasp, line: tuple[str | Path, ...], shell: dict[str, str], tmp_path: Path
) -> None:
    output = tmp_path / "policy.json"
    journal = journal_path(output)
    process = subprocess.Popen(
        [sys.executable, "-m", "clasp_trt", *map(str, line)],
        env=shell, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not journal.exists() or journal.read_bytes().count(b"\n") < 5:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    kept = f"answers so far are kept in {journal}; the same command goes on from there\n"
    assert (process.returncode, out, err) == (130, "", f"{kept}error: interrupted\n")
    assert sorted(os.listdir(tmp_path)) == [journal.name]
    assert clasp(*line).code == 0
    assert sorted(os.listdir(tmp_path)) == ["policy.json"]


def test_mistakes(refused: Refused, clasp: Clasp, several: Path, data: Path, tmp_path: Path) -> None:
    given = ("calibrate", several, "--data", data, "-o", tmp_path / "p.json")
    assert "'0.2,x' is not a list of ratios such as 0.2,0.4,0.6,0.8" in refused(*given, "--ratios", "0.2,x")
    assert "1.5 is not a ratio; give numbers from 0 to 1" in refused(*given, "--ratios", "0.2,1.5")
    assert "NaN is not a ratio" in refused(*given, "--ratios", "NaN")
    assert "--questions is 3" in refused(*given, "--questions", "3")
    assert "no-such.jsonl" in refused("calibrate", several, "--data", "no-such.jsonl", "-o", tmp_path / "p.json")
    assert "not a bundle" in refused("calibrate", data.parent, "--data", data, "-o", tmp_path / "p.json")
    assert list(tmp_path.iterdir()) == []


def test_vision_layers(refused: Refused, several: Path, checkpoint: Path, tmp_path: Path) -> None:
    """A bundle has the layers that were asked for and the one that the checkpoint reads by itself."""
    assert Bundle.open(several).policy.layers == (1, 2, 3)
    build = ("build", checkpoint, "-o", tmp_path / "out", "--budget", "8", "--vision-layers")
    assert "there is no layer 9; the tower of this checkpoint has 0 to 4" in refused(*build, "2,9")
    assert "exclude each other" in refused(*build, "2", "--policy", several / "policy.json")
    assert list(tmp_path.iterdir()) == []
