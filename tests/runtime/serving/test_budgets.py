"""Bundles of one checkpoint at several budgets, behind one name."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from clasp_trt.bundle import Bundle
from clasp_trt.errors import RequestError
from clasp_trt.runtime.engine import Engine, open_engine
from clasp_trt.runtime.serving.house import House
from clasp_trt.tools.build.compiler import build
from tests.mistakes import says
from tests.runtime.serving.conftest import NAME, body, client


def test_a_request_chooses_its_budget(built: Callable[..., Bundle], engine: Engine) -> None:
    """And the first answers who names none."""
    with open_engine(built(prune_at="none").root, threads=1) as whole:
        house = House([engine, whole], NAME)

        async def asked() -> list[int]:
            async with client(house) as opened:
                budgets = (None, 8, 16)
                sent = [body(clasp={} if each is None else {"budget": each}) for each in budgets]
                found = [(await opened.post("/v1/chat/completions", json=each)).json() for each in sent]
                (model,) = (await opened.get("/v1/models")).json()["data"]
                assert model["clasp"]["budgets"] == [8, 16]
                return [each["clasp"]["budget"] for each in found]

        assert asyncio.run(asked()) == [8, 8, 16]


def test_bundles_that_cannot_be_told_apart(engine: Engine) -> None:
    with pytest.raises(RequestError) as same:
        House([engine, engine])
    says(same, 8, "visual tokens")


def test_bundles_of_two_checkpoints(
    engine: Engine, built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path
) -> None:
    """Of one form and with other weights: their answers would differ in more than what they cost."""
    tuned = tmp_path / checkpoint.name
    shutil.copytree(checkpoint, tuned)
    weights = load_file(tuned / "model.safetensors")
    (embedding,) = [name for name in weights if name.endswith("embed_tokens.weight")]
    weights[embedding][0, 0] += 1
    save_file(weights, tuned / "model.safetensors", {"format": "pt"})
    other = build(tuned, tmp_path / "bundle", prune_at="none", max_context=96)
    with open_engine(other.root, threads=1) as stranger, pytest.raises(RequestError) as refused:
        House([engine, stranger], NAME)
    says(refused, str(other.root), "not of the same checkpoint")
