"""Shares of zeros by diversity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clasp_trt.chain import port
from clasp_trt.export.diversity import diversities, shares
from clasp_trt.export.requests import Requests
from clasp_trt.sparsity import parse
from tests import sparse
from tests.export.test_calibrated import LAYERS, decoder, feeds, reference

SIZES = {"a": 100, "b": 400, "c": 400}


def test_equal_diversity_is_equal_parts() -> None:
    found = shares(dict.fromkeys(SIZES, 0.7), SIZES, parse("0.5"))
    kept = {name: (1 - share) * SIZES[name] for name, share in found.items()}
    assert kept == pytest.approx({"a": 40 + 30, "b": 160 + 30, "c": 160 + 30})


@pytest.mark.parametrize("asked", ["0.05", "0.3", "0.5", "0.9", "0.95"])
@pytest.mark.parametrize(
    "values", [(1.0, 2.0, 3.0), (0.0, 0.0, 0.0), (5.0, 0.0, 0.1), (0.0, 1.0, 0.0), (-1.0, 0.5, 0.2)]
)
def test_all_have_what_was_asked_for_and_none_loses_too_much(asked: str, values: tuple[float, ...]) -> None:
    sparsity = parse(asked)
    found = shares(dict(zip(SIZES, values, strict=True)), SIZES, sparsity)
    assert sum(found[name] * size for name, size in SIZES.items()) == pytest.approx(
        float(sparsity.share) * 900, abs=0.6
    )
    assert all(-1e-9 <= share <= float(sparsity.most) + 1e-9 for share in found.values())


def test_who_differs_more_keeps_more() -> None:
    found = shares({"a": 1.0, "b": 2.0, "c": 1.0}, dict.fromkeys("abc", 1000), parse("0.5"))
    assert found["b"] < found["a"] == found["c"]
    assert {name: 1000 * (1 - share) for name, share in found.items()} == pytest.approx({"a": 475, "b": 550, "c": 475})


def test_diversities_are_those_of_the_dense_decoder(tmp_path: Path) -> None:
    model, visual = decoder(), np.array([1, 2, 3, 7])
    given = [
        {**feed, port.HIDDEN: feed[port.HIDDEN][:, :10], port.POSITION_IDS: np.arange(10)[None]} for feed in feeds()
    ]
    requests = Requests(tmp_path)
    for feed in given:
        requests.add({**feed, port.VISUAL_INDEX: visual})
    (tmp_path / "dense").mkdir()
    found = diversities(reference(model), requests.branched(tmp_path / "dense"))
    assert len(found) == 7 * LAYERS

    seen = dict[str, list[np.ndarray]]()  # type: ignore[type-arg]
    stock = decoder()
    for name, module in stock.layers.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(
                lambda _, __, made, name=name: seen.setdefault(name, []).append(made[0].detach().double().numpy())
            )
    mask = torch.full((10, 10), torch.finfo(torch.float32).min).triu(1)[None, None]
    with torch.inference_mode():
        for feed in given:
            hidden, positions = (torch.from_numpy(feed[name]) for name in (port.HIDDEN, port.POSITION_IDS))
            for layer in stock.layers:
                hidden = layer(hidden, attention_mask=mask, position_embeddings=stock.rotary_emb(hidden, positions))
    is_visual = [place in visual for place in range(10)]
    for name, outputs in seen.items():
        direct = sum(3 - sum(sparse.three(each, is_visual)) for each in outputs) / len(outputs)
        assert found[f"layers.{name}.weight"] == pytest.approx(direct, abs=1e-4)
    np.testing.assert_array_equal(requests[0][port.HIDDEN], given[0][port.HIDDEN])
