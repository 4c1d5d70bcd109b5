"""Options of ``run`` over what the bundle says, and answers of a given form."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Clasp, Refused
from tests.mistakes import says

QUESTION = ("--prompt", "How many cups?", "--max-new-tokens", "12")


@pytest.fixture
def penalised(bundle: Path, tmp_path: Path) -> Path:
    """The bundle as if its checkpoint had asked for this."""
    root = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    content = json.loads((root / "clasp.json").read_text())
    content["generation"] = {"do_sample": True, "temperature": 2.0, "top_k": 50, "repetition_penalty": 1.5}
    (root / "clasp.json").write_text(json.dumps(content))
    return root


def told(clasp: Clasp, *line: str | Path) -> dict[str, Any]:
    done = clasp("run", *line, "--json")
    assert (done.code, done.err) == (0, "")
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_an_option_comes_before_the_bundle_and_the_result_says_which(clasp: Clasp, penalised: Path) -> None:
    own = told(clasp, penalised, *QUESTION)["generation"]
    assert own == {
        "do_sample": True, "temperature": 2.0, "top_k": 50, "repetition_penalty": 1.5, "max_new_tokens": 12,
    }  # fmt: skip
    options = ("--temperature", "0.5", "--top-k", "7", "--min-p", "0.1", "--no-repeat-ngram-size", "2", "--stop", "zz")
    given = told(clasp, penalised, *QUESTION, *options, "--repetition-penalty", "1", "--seed", "1")["generation"]
    assert given == {
        **{"do_sample": True, "temperature": 0.5, "top_k": 7, "min_p": 0.1, "no_repeat_ngram_size": 2},
        **{"max_new_tokens": 12, "stop_strings": ["zz"]},
    }
    assert told(clasp, penalised, *QUESTION, "--temperature", "0")["generation"] == {
        "repetition_penalty": 1.5, "max_new_tokens": 12,
    }  # fmt: skip


def test_the_facts_say_how_tokens_were_chosen(clasp: Clasp, penalised: Path, bundle: Path) -> None:
    assert "| sampled: temperature 2.0, top_k 50, repetition_penalty 1.5\n" in clasp("run", penalised, *QUESTION).err
    greedy = clasp("run", penalised, *QUESTION, "--temperature", "0").err
    assert greedy.endswith("| greedy: repetition_penalty 1.5\n")
    assert clasp("run", bundle, *QUESTION).err.endswith("tokens/s\n"), "plain greedy decoding is no news"


def test_inspect_tells(clasp: Clasp, penalised: Path, bundle: Path) -> None:
    assert "tokens     sampled: temperature 2.0, top_k 50, repetition_penalty 1.5\n" in clasp("inspect", penalised).out
    assert "tokens     " not in clasp("inspect", bundle).out
    told = json.loads(clasp("inspect", penalised, "--json").out)["manifest"]["generation"]
    assert told["repetition_penalty"] == 1.5


def test_answers_of_a_given_form(clasp: Clasp, bundle: Path, tmp_path: Path) -> None:
    found = told(clasp, bundle, *QUESTION, "--choices", "yes, no")
    assert found["text"] in ("yes", "no")
    assert found["finish_reason"] == "stop"
    assert clasp("run", bundle, *QUESTION, "--regex", "[0-9]{3}").out.strip().isdecimal()
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    text = told(clasp, bundle, *QUESTION, "--max-new-tokens", "30", "--json-schema", tmp_path / "schema.json")["text"]
    assert json.loads(text)["n"] in (1, 2)


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (("--top-p", "0.5"), ("top_p", "greedy")),
        (("--top-p", "1.5"), ("top_p", 1.5)),
        (("--top-k", "-1"), ("top_k", -1)),
        (("--repetition-penalty", "0"), ("repetition_penalty",)),
        (("--stop", ""), ("stop",)),
        (("--choices", ","), ("choices",)),
        (("--choices", "a,b", "--regex", "a"), ("choices", "regex")),
        (("--regex", "a("), ("regex",)),
        (("--json-schema", "nowhere.json"), ("nowhere.json",)),
    ],
)
def test_options_that_make_no_sense(refused: Refused, bundle: Path, options: tuple[str, ...], facts: Any) -> None:
    says(refused("run", bundle, *QUESTION, *options), *facts)


def test_a_form_whose_library_is_missing_says_what_to_install(
    refused: Refused, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    monkeypatch.delitem(__import__("sys").modules, "clasp_trt.runtime.logits.grammar", raising=False)
    says(refused("run", bundle, *QUESTION, "--regex", "a"), "llguidance", "pip install 'clasp-trt[grammar]'")
