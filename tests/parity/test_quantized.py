"""Bundles of rounded weights against the eager reference of a checkpoint that a second implementation rounded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clasp_trt.notice import Notice
from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.runtime.pipeline import load
from clasp_trt.tools.build.compiler import build
from examples.random_llava import make
from tests.parity.test_parity import BASE, PROMPTS, Built, assert_same, compiled, eager, in_float64
from tests.rounding import Scheme, rounded_checkpoint

SHAPE = replace(BASE, width=64, heads=4, kv_heads=2)
TOWER, PROJECTOR, LAYERS, EMBEDDING, HEAD = "vision_tower", "projector", "model.layers", "embed_tokens", "lm_head"
INT4, INT8 = (4, 128), (8, None)
CASES: dict[str, tuple[dict[str, Any], str, dict[str, Scheme]]] = {
    "int4": ({}, "int4", {LAYERS: INT4, **dict.fromkeys((TOWER, PROJECTOR, EMBEDDING, HEAD), INT8)}),
    "int8 of a tied head": (
        {"tie_word_embeddings": True},
        "int8,vision=none",
        dict.fromkeys((PROJECTOR, "language"), INT8),
    ),
    "int4 of every matrix": (
        {},
        "int4:32,vision=int4:32,projector=int4:32,head=int4:32,embedding=none",
        dict.fromkeys((TOWER, PROJECTOR, LAYERS, HEAD), (4, 32)),
    ),
}


@pytest.mark.usefixtures("tracer")
@pytest.mark.filterwarnings(f"ignore::{Notice.__module__}.{Notice.__name__}")
@pytest.mark.parametrize(
    "case", [*(name if name == "int4" else pytest.param(name, marks=pytest.mark.full) for name in CASES)]
)
def test_graphs_compute_with_what_the_integers_stand_for(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    changes, option, schemes = CASES[case]
    folder = make(tmp_path / "checkpoint", replace(SHAPE, **changes))
    build(folder, tmp_path / "bundle", target="l4", backend="onnxruntime", quantize=option, max_context=1024, budget=20)
    text, category = PROMPTS["long text after"]
    pair = Built(load(tmp_path / "bundle", threads=1), rounded_checkpoint(folder, tmp_path / "rounded", schemes))
    result, logits = compiled(pair.pipeline, text, None, monkeypatch)
    reference = eager(pair.pipeline, pair.model(), text, CATEGORY_NAMES.index(category))
    assert_same(result, reference)
    truth, tolerance = in_float64(pair, text, category, reference)
    assert np.abs(logits - truth).max() <= tolerance
    stock = eager(pair.pipeline, replace(pair, folder=folder).model(), text, CATEGORY_NAMES.index(category))
    assert np.abs(stock.logits[0] - truth[0]).max() > 100 * tolerance, "rounding that nobody would notice"
