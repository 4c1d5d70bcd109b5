"""A second build with the same options uses the engines of the first, and says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from tests.cli.conftest import Clasp

pytestmark = pytest.mark.trt

FIXED = {"vision", "projector", "gram", "greedy"}
"""Graphs whose engines have no size that depends on the prompt."""


@pytest.fixture
def build(
    clasp: Clasp, built: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[str, str]]:
    """Builds the tiny portable bundle for an RTX 4090; gives standard output and standard error."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    portable = built(target=None, precision="fp16", prune_layers=(0,), schedule=(7,), budget=None).root

    def run(*options: str) -> tuple[str, str]:
        done = clasp("build", portable, "-o", tmp_path / "out", "--force", "--target", "rtx4090", *options)
        assert done.code == 0
        return done.out, done.err

    return run


@pytest.mark.usefixtures("engines_here")
def test_a_second_build_reuses_engines_and_a_changed_option_builds_anew(
    build: Callable[..., tuple[str, str]],
) -> None:
    out, err = build()
    assert "from the cache" not in out + err
    found = json.loads(build("--json")[0])
    every = sorted(graph["name"] for graph in found["manifest"]["graphs"])
    assert found["engines_reused"] == every
    assert build()[1] == f"{len(every)} of {len(every)} engines are from the cache; --no-cache builds all\n"

    assert set(json.loads(build("--json", "--max-prompt", "20")[0])["engines_reused"]) == FIXED
    for option in (("--sm", "8.6"), ("--max-build-memory", "4"), ("--no-cache",)):
        out, err = build("--json", *option)
        assert (json.loads(out)["engines_reused"], err) == ([], "")
