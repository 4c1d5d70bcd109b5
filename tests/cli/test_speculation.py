"""``--lookup`` and ``--draft``: the same answer, and what became of what was proposed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from tests.cli.conftest import Clasp, Refused

ASKED = ("--prompt", "How many cups?", "--regex", "(cup ){12}", "--json")


def test_run_tells_what_was_accepted(clasp: Clasp, bundle: Path) -> None:
    plain, looked = (clasp("run", bundle, *ASKED, *more) for more in ((), ("--lookup", "7")))
    assert (looked.code, looked.err) == (0, "")
    alone, found = json.loads(plain.out), json.loads(looked.out)
    assert (found["text"], found["generated_tokens"]) == (alone["text"], alone["generated_tokens"])
    assert alone["speculation"] is None
    assert found["speculation"]["accepted"] > 5
    assert found["speculation"]["tokens_per_step"] > 1.5
    told = clasp("run", bundle, *ASKED[:-1], "--lookup", "7").err
    assert f"{found['speculation']['accepted']} of {found['speculation']['proposed']} proposed tokens accepted" in told


def test_a_draft_bundle(clasp: Clasp, bundle: Path, built: Callable[..., Bundle]) -> None:
    asked = ("run", bundle, "--prompt", "How many cups?", "--max-new-tokens", "11", "--json")
    alone, found = (json.loads(clasp(*asked, *more).out) for more in ((), ("--draft", built(prune_at="none").root)))
    assert found["text"] == alone["text"]
    assert found["speculation"]["accepted"] == found["speculation"]["proposed"] > 0


@pytest.mark.full
def test_profile_tells_what_was_accepted(clasp: Clasp, bundle: Path) -> None:
    options = ("--runs", "2", "--warmup", "0", "--no-image", "--max-new-tokens", "12", "--lookup", "3")
    told = json.loads(clasp("profile", bundle, *options, "--json").out)["bundles"][0]["speculation"]
    assert told["tokens"] == 11
    done = clasp("profile", bundle, *options)
    assert f"lookup     {told['accepted']} of {told['proposed']} proposed tokens accepted" in done.out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--lookup 8", "--lookup"),
        ("--lookup 2 --draft {bundle}", "leave out one of the two"),
        ("--draft /nowhere", "/nowhere"),
    ],
)
def test_mistakes(refused: Refused, bundle: Path, options: str, expected: str) -> None:
    assert expected in refused("run", bundle, "--prompt", "Hi", *options.format(bundle=bundle).split())
