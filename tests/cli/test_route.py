"""``clasp-trt route``: one prompt with reasons, a file of them with what the router takes for what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clasp_trt.policy import CATEGORY_NAMES
from tests.cli.conftest import Clasp, Refused

ROWS = (
    {"prompt": "How many dogs are there?", "category": "counting"},
    {"prompt": "How many\ncats? \u001b[31m", "category": "default"},
    {"prompt": "What does the sign say?", "category": "text / symbol recognition"},
    {"prompt": "hello", "category": "scene understanding"},
    {"prompt": "unlabelled"},
)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_one_prompt(clasp: Clasp, bundle: Path, tmp_path: Path) -> None:
    lines = clasp("route", "--prompt", "How many dogs?").out.splitlines()
    assert lines[0].startswith("counting (id 5), confidence ")
    assert "because of: counting: " in lines[0]
    assert [line.split("  ")[1] for line in lines[2:]] == list(CATEGORY_NAMES)
    assert len(lines[7].split()[-1]) >= 27
    policy = json.loads((bundle / "policy.json").read_text())
    (tmp_path / "strict.json").write_text(json.dumps({**policy, "threshold": 1.0}))
    assert clasp("route", "--prompt", "How many dogs?", "--policy", tmp_path / "strict.json").out.startswith("default")


def test_one_prompt_for_programs(clasp: Clasp, bundle: Path) -> None:
    done = clasp("route", "--prompt", "How many dogs?", "--policy", bundle / "policy.json", "--json")
    told = json.loads(done.out)
    assert list(told) == ["category", "name", "confidence", "why", "probabilities"]
    assert (told["category"], told["name"]) == (5, "counting")
    assert all(reason.startswith("counting: ") for reason in told["why"])
    assert list(told["probabilities"]) == list(CATEGORY_NAMES)
    assert sum(told["probabilities"].values()) == pytest.approx(1)
    assert told["probabilities"]["counting"] == told["confidence"]


def test_a_router_without_reasons_is_asked_word_by_word(clasp: Clasp, router: Path) -> None:
    told = json.loads(clasp("route", "--router", router, "--prompt", "how many red dog", "--json").out)
    assert told["name"] in ("counting", "text / symbol recognition")
    assert told["probabilities"]["scene understanding"] == 0
    assert all(reason.split()[0].strip("'") in ("how", "many", "red", "dog") for reason in told["why"])


def test_a_file(clasp: Clasp, rows: Path) -> None:
    done = clasp("route", "--file", rows)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].split("  ")[0] == "counting"
    assert lines[0].endswith("How many dogs are there?")
    assert lines[1].endswith("How many cats?  [31m")
    assert lines[6] == "2 of 4 right: 50.0 % (15-85); 1 went to default instead, 1 to a wrong category"
    table = {line.split()[0]: line.split()[-9:] for line in lines[9:]}
    assert lines[8].split() == ["expected", *map(str, range(9))]
    assert table["5"] == [*".....1..."]
    assert table["8"] == [*".....1..."]
    assert table["3"] == [*"........", "1"]
    assert set(table) == {"2", "3", "5", "8"}


def test_a_file_without_categories(clasp: Clasp, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("How many?\n\n这是什么字？\n")
    lines = clasp("route", "--file", tmp_path / "prompts.txt").out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["counting", "text / symbol recognition"]


def test_a_file_as_json_lines(clasp: Clasp, rows: Path) -> None:
    done = clasp("route", "--file", rows, "--json")
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [row["prompt"] for row in told] == [row["prompt"] for row in ROWS]
    assert [row.get("expected") for row in told] == [row.get("category") for row in ROWS]
    assert told[0]["name"] == "counting"
    assert list(told[4]) == ["prompt", "category", "name", "confidence", "why", "probabilities"]


def test_refused(refused: Refused, rows: Path, router: Path, bundle: Path, tmp_path: Path) -> None:
    assert "give --prompt, or --file with many" in refused("route")
    assert "give --prompt, or --file with many" in refused("route", "--prompt", "x", "--file", rows)
    rows.write_text('{"prompt": "x", "category": "countin"}\n')
    assert refused("route", "--file", rows).startswith(f"{rows}:1: category 'countin' is not in the policy")
    assert "cannot be read" in refused("route", "--prompt", "x", "--router", tmp_path)
    policy = json.loads((bundle / "policy.json").read_text())
    policy["categories"][0]["name"] = "dents"
    (tmp_path / "mine.json").write_text(json.dumps(policy))
    line = refused("route", "--prompt", "x", "--router", router, "--policy", tmp_path / "mine.json")
    assert "it has no 'dents', has 'object identification', which the policy has not; make the router with" in line
