"""``clasp-trt eval``: for people, for programs, refused in one line, and gone on with after an interruption."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.methods import METHODS
from clasp_trt.policy import Policy
from tests.cli.conftest import Clasp, Refused

PATIENCE_S = 60.0


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from examples.shapesvqa.generate import generate

    folder = tmp_path_factory.mktemp("shapes") / "data"
    generate(folder, split="test", images=2, seed=0, size=56)
    return folder


@pytest.fixture
def data(folder: Path, tmp_path: Path) -> Path:
    """A copy of the questions, for this test to change."""
    return Path(shutil.copytree(folder, tmp_path / "data")) / "D.jsonl"


def test_for_people(clasp: Clasp, bundle: Path, data: Path) -> None:
    done = clasp("eval", bundle, "--data", data, "--method", "none", "--method", "clasp", "--max-new-tokens", "2")
    assert (done.code, done.err) == (0, "")  # no progress bar in a pipe
    count = len(data.read_text().splitlines())
    lines = done.out.splitlines()
    assert lines[0].startswith("bundle    tiny, fp32: 16 -> 7 after layer 0 ")
    assert lines[1] == "policy    uncalibrated prior; category: the row's, or else the router's"
    assert lines[2] == f"data      {data}: {count} questions about 2 pictures"
    assert lines[3] == "answers   greedy, at most 2 tokens"
    assert lines[5].split() == ["none", "clasp"]
    assert next(line for line in lines if line.startswith("counting (2)")).count("(0-66)") == 2
    assert f"all ({count})" in done.out
    assert next(line for line in lines if line.startswith("visual tokens")).split()[2:] == ["16.0", "8.0"]


def test_for_programs(clasp: Clasp, bundle: Path, data: Path) -> None:
    done = clasp("eval", bundle, "--data", data, "--route", "--limit", "4", "--json", "--max-new-tokens", "1")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert (found["questions"], found["pictures"], found["route"]) == (4, 1, True)
    assert found["routing"]["total"] == 4
    assert list(found["methods"]) == ["clasp"]
    clasp_report = found["methods"]["clasp"]
    assert sum(share["total"] for share in clasp_report["categories"].values()) == clasp_report["total"] == 4
    assert found["data"]["path"] == str(data)


def test_all_methods(clasp: Clasp, bundle: Path, built: Callable[..., Bundle], data: Path) -> None:
    line = ("--data", data, "--limit", "1", "--max-new-tokens", "1", "--method", "clasp", "--method", "all", "--json")
    pruned = json.loads(clasp("eval", bundle, *line).out)["methods"]
    assert list(pruned) == ["clasp", *(name for name in METHODS if name != "clasp")]
    whole = json.loads(clasp("eval", built(prune_at="none").root, *line).out)["methods"]
    assert list(whole) == ["clasp", "none"]  # without stages the others have nothing to choose


@pytest.mark.full
def test_stress(clasp: Clasp, refused: Refused, bundle: Path, data: Path, tmp_path: Path) -> None:
    line = ("eval", bundle, "--data", data, "--stress", "--max-new-tokens", "1", "--limit", "5")
    done = clasp(*line)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[1] == "policy    uncalibrated prior; category: several"
    assert lines[6].split("  ")[-1].strip() == "all random"
    assert [row.split()[0] for row in lines if " % " in row and row[0].isdigit()] == ["10", "20", "30", "100"]
    output = tmp_path / "answers.jsonl"
    told = json.loads(clasp(*line, "--json", "--output", output).out)
    assert list(told["conditions"]) == ["true category", "router", "all default", "all random"]
    assert [mixture["share"] for mixture in told["mixtures"]["all random"]] == [0.1, 0.2, 0.3, 1.0]
    assert output.read_bytes().count(b"\n") == 1 + 5 * 4
    assert json.loads(clasp(*line, "--json", "--output", output).out) == told
    assert "drop --method and --route" in refused(*line, "--route")
    assert "drop --method and --route" in refused(*line, "--method", "none")


@pytest.mark.full
def test_another_router(clasp: Clasp, refused: Refused, bundle: Path, data: Path, router: Path, tmp_path: Path) -> None:
    output = tmp_path / "answers.jsonl"
    line = ("eval", bundle, "--data", data, "--route", "--limit", "4", "--json", "--max-new-tokens", "1")
    rules = json.loads(clasp(*line, "--output", output).out)
    assert "with other router;" in refused(*line, "--output", output, "--router", router)
    other = json.loads(clasp(*line, "--router", router).out)
    assert other["routing"] != rules["routing"]


def test_refused_before_the_model_is_loaded(
    refused: Refused, bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clasp_trt.runtime import pipeline

    monkeypatch.setattr(pipeline, "load", lambda *words, **options: pytest.fail("loaded"))
    rows = data.read_text().splitlines()
    assert "did you mean 'fastv'" in refused("eval", bundle, "--data", data, "--method", "fastvv")
    assert "cannot be read" in refused("eval", bundle, "--data", tmp_path / "none.jsonl")
    assert str(tmp_path) in refused("eval", tmp_path, "--data", data)
    data.write_text("\n".join([rows[0], rows[1].replace('"category": "', '"category": "x')]))
    reason = refused("eval", bundle, "--data", data)
    assert reason.startswith(f"{data}:2: category 'x")
    data.write_text("\n".join([rows[0], json.dumps({**json.loads(rows[1]), "image": "gone.png"})]))
    assert refused("eval", bundle, "--data", data).startswith(f"{data}:2: there is no image ")


def test_goes_on_and_refuses_another_run(
    clasp: Clasp, refused: Refused, bundle: Path, data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "answers.jsonl"
    line = ("eval", bundle, "--data", data, "--output", output, "--max-new-tokens", "1", "--json")
    few = clasp(*line, "--limit", "3")
    assert few.code == 0
    first = output.read_bytes()
    whole = clasp(*line)
    assert output.read_bytes().startswith(first)
    content = output.read_bytes()
    assert content.count(b"\n") == 1 + len(data.read_text().splitlines())
    assert clasp(*line).out == whole.out  # every answer is there: even the times are those of the first run
    assert "with other methods;" in refused(*line, "--method", "none")
    changed = tmp_path / "policy.json"
    policy = Bundle.open(bundle).policy
    changed.write_text(Policy(policy.layers, 3.0, policy.threshold, policy.categories, {"kind": "user"}).dumps())
    assert "with other policy;" in refused(*line, "--policy", changed)
    data.write_text(data.read_text() + data.read_text().splitlines()[0] + "\n")
    assert "with other data;" in refused(*line)
    assert output.read_bytes() == content


def test_a_bad_picture_keeps_what_was_answered(refused: Refused, bundle: Path, data: Path, tmp_path: Path) -> None:
    rows = [json.loads(row) for row in data.read_text().splitlines()]
    last = data.parent / rows[-1]["image"]
    last.write_bytes(last.read_bytes()[:200])
    before = sum(row["image"] != rows[-1]["image"] for row in rows)
    output = tmp_path / "answers.jsonl"
    reason = refused("eval", bundle, "--data", data, "--output", output, "--max-new-tokens", "1")
    assert reason.startswith(f"{data}:{before + 1}: ")
    assert last.name in reason
    assert output.read_bytes().count(b"\n") == 1 + before


@pytest.mark.full
def test_interrupted_it_keeps_what_was_answered(
    clasp: Clasp, bundle: Path, data: Path, shell: dict[str, str], tmp_path: Path
) -> None:
    output = tmp_path / "answers.jsonl"
    data.write_text("".join(data.read_text() for _ in range(100)))
    line = ["eval", bundle, "--data", data, "--output", output]
    process = subprocess.Popen(
        [sys.executable, "-m", "clasp_trt", *line],
        env=shell,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # our own shell may have ignored it
    )
    deadline = time.monotonic() + PATIENCE_S
    while not output.is_file() or output.read_bytes().count(b"\n") < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE_S) == ("", "error: interrupted\n")
    assert process.returncode == 130
    kept = output.read_bytes()
    assert kept.count(b"\n") < 1 + len(data.read_text().splitlines())
    assert clasp(*line, "--limit", "2").code == 0
    assert output.read_bytes() == kept[: kept.rfind(b"\n") + 1]


def test_questions_are_exported(clasp: Clasp, refused: Refused, bundle: Path, data: Path, tmp_path: Path) -> None:
    """What the files hold is the business of tests/tools/evaluate/test_harness.py."""
    done = clasp("eval", "--export", "tsv", "--data", data, "--limit", "3", "-o", tmp_path / "D.tsv")
    assert (done.code, done.out, done.err) == (0, f"{tmp_path / 'D.tsv'}\n", "")
    assert (tmp_path / "D.tsv").read_text().count("\n") == 4
    told = json.loads(
        clasp("eval", bundle, "--export", "jsonl", "--data", data, "-o", tmp_path / "E.jsonl", "--json").out
    )
    assert told["questions"] == len(data.read_text().splitlines())
    assert told["files"] == [str(tmp_path / name) for name in ("E.jsonl", "E.yaml", "E_pictures.py")]
    assert "-o F.tsv" in refused("eval", "--export", "tsv", "--data", data)
    assert "drop --method and --route" in refused(
        "eval", "--export", "tsv", "--data", data, "-o", tmp_path / "x.tsv", "--method", "none", "--route"
    )
    assert "BUNDLE" in refused("eval", "--data", data)
    assert str(data) in refused("eval", "--export", "jsonl", "--data", data, "-o", data)
    assert "csv" in refused("eval", "--export", "csv", "--data", data, "-o", tmp_path / "x.csv")
    data.write_text(data.read_text().replace('"category": "', '"category": "x', 1))
    assert "category 'x" in refused("eval", bundle, "--export", "tsv", "--data", data, "-o", tmp_path / "x.tsv")
