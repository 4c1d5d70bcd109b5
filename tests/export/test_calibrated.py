"""What is gathered of a layer, what a layer is fed, and what is told of a rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from clasp_trt.bundle.roundings import Rounding
from clasp_trt.chain import port
from clasp_trt.errors import CheckpointError
from clasp_trt.export.calibrated import Sums, calibrate
from clasp_trt.export.reference import Reference
from clasp_trt.export.requests import Requests
from clasp_trt.export.weights.compensation import compensated
from clasp_trt.export.weights.kept import Kept
from tests.mistakes import says
from tests.rounding import floats, rounded

WIDTH, LAYERS = 32, 3


def decoder() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=LAYERS, num_attention_heads=2, vocab_size=10,
        attn_implementation="eager", initializer_range=0.3,  # layers that matter beside what goes past them
    )  # fmt: skip
    return LlamaModel(config).eval()


def reference(model: Any) -> Reference:
    return Reference(None, model, torch.nn.Linear(WIDTH, 10))  # type: ignore[arg-type]  # nothing is looked at


def feeds() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {
            port.HIDDEN: rng.standard_normal((1, rows, WIDTH)).astype(np.float32),
            port.POSITION_IDS: np.arange(rows)[None],
        }
        for rows in (40, 23)
    ]


def matrices(model: Any, folder: Path, block: int | None = 32) -> dict[str, Kept]:
    named = [(f"layers.{name}.weight", each) for name, each in model.layers.named_modules()]
    return {
        name: Kept(folder, name, f"disk.{name}", tuple(each.weight.shape), 4, block)
        for name, each in named
        if isinstance(each, torch.nn.Linear)
    }


def calibrated(tmp_path: Path, model: Any, given: list[dict[str, Any]]) -> tuple[dict[str, Kept], list[Rounding]]:
    folder = tmp_path / "requests"
    folder.mkdir()
    requests, kept = Requests(folder), matrices(model, tmp_path)
    for feed in given:
        requests.add(feed)
    return kept, calibrate(reference(model), requests, kept, "float32")


def test_sums_are_those_of_the_rows_that_enter() -> None:
    first, same, other = torch.nn.Linear(6, 4), torch.nn.Linear(6, 3), torch.nn.Linear(4, 2)
    sums = Sums({"first": first, "same": same, "other": other})
    given = [torch.randn(1, rows, 6, generator=torch.Generator().manual_seed(rows)) for rows in (5, 3)]
    for rows in given:
        same(rows)
        other(first(rows))
    found = dict(sums.take())
    first(given[0])  # no longer heard
    inputs = torch.cat([each[0] for each in given]).double()
    passed = torch.cat([first(each)[0] for each in given]).double()
    for name, rows in (("first", inputs), ("same", inputs), ("other", passed)):
        direct = sum(torch.outer(row, row) for row in rows)
        torch.testing.assert_close(found[name], direct)
    assert found["first"] is found["same"], "query, key and value have one sum"


def test_a_layer_is_fed_by_those_that_are_rounded_already(tmp_path: Path) -> None:
    stock, given = decoder(), feeds()
    kept, _ = calibrated(tmp_path, decoder(), given)

    def dequantised(name: str) -> torch.Tensor:
        return torch.from_numpy(floats(kept[name].values("float32"), kept[name].scales("float32")))

    def passed(layer: Any, feed: dict[str, Any]) -> torch.Tensor:
        hidden, positions = (torch.from_numpy(feed[name]) for name in (port.HIDDEN, port.POSITION_IDS))
        count = hidden.shape[1]
        mask = torch.full((count, count), torch.finfo(torch.float32).min).triu(1)[None, None]
        after: torch.Tensor = layer(
            hidden, attention_mask=mask, position_embeddings=stock.rotary_emb(hidden, positions)
        )
        return after

    first, second = stock.layers[0], stock.layers[1]
    with torch.inference_mode():
        for name, module in first.named_modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.copy_(dequantised(f"layers.0.{name}.weight"))
        rows = [second.input_layernorm(passed(first, feed))[0].double() for feed in given]
    whole = torch.cat(rows)
    direct = compensated(second.self_attn.q_proj.weight.detach(), whole.T @ whole, 4, 32, torch.float32)
    found = kept["layers.1.self_attn.q_proj.weight"].values("float32")
    assert (found != direct.values.numpy()).mean() < 0.01, "sums differ by float32's order alone"
    with torch.inference_mode():
        for mine, theirs in zip(first.parameters(), decoder().layers[0].parameters(), strict=True):
            mine.copy_(theirs)
        floats_in = torch.cat([second.input_layernorm(passed(first, feed))[0].double() for feed in given])
    fed = compensated(second.self_attn.q_proj.weight.detach(), floats_in.T @ floats_in, 4, 32, torch.float32)
    assert (found != fed.values.numpy()).mean() > 0.02, "floats would have been another sum"
    plain = rounded(second.self_attn.q_proj.weight.detach().numpy(), 4, 32)[0]
    assert (found != plain).mean() > 0.1


def test_what_is_told_of_a_rounding(tmp_path: Path) -> None:
    stock, given = decoder(), feeds()
    kept, told = calibrated(tmp_path, decoder(), given)
    assert [each.name for each in told[:3]] == [f"layers.0.self_attn.{each}_proj.weight" for each in "qkv"]
    assert {each.name for each in told} == set(kept)
    first, weight = told[0], stock.layers[0].self_attn.q_proj.weight.detach().numpy()
    rows = np.concatenate(
        [stock.layers[0].input_layernorm(torch.from_numpy(feed[port.HIDDEN])).detach().numpy()[0] for feed in given]
    )

    def share(whole: Any, of: Any) -> float:
        return float(np.sqrt(np.square(whole - of).sum() / np.square(of).sum()))

    whole = floats(kept[first.name].values("float32"), kept[first.name].scales("float32"))
    nearest = floats(*rounded(weight, 4, 32))
    assert first.changed == pytest.approx(share(whole, weight), rel=1e-5)
    assert first.output == pytest.approx(share(rows @ whole.T, rows @ weight.T), rel=1e-4)
    assert first.nearest == pytest.approx(share(rows @ nearest.T, rows @ weight.T), rel=1e-4)
    assert all(each.output < each.nearest for each in told)


def test_it_is_the_same_twice(tmp_path: Path) -> None:
    found = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        found.append(calibrated(tmp_path / name, decoder(), feeds())[1])
    assert found[0] == found[1]


def test_values_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    model = decoder()
    with torch.no_grad():
        model.layers[1].mlp.up_proj.weight[0, 0] = torch.inf
    with pytest.raises(CheckpointError) as error:
        calibrated(tmp_path, model, feeds())
    says(error, "disk.layers.1.mlp.up_proj.weight", "not finite")


def test_a_linear_layer_without_a_matrix_is_a_fault_of_ours(tmp_path: Path) -> None:
    model = decoder()
    kept = matrices(model, tmp_path)
    del kept["layers.2.mlp.down_proj.weight"]
    with pytest.raises(RuntimeError, match="layer 2"):
        calibrate(reference(model), Requests(tmp_path), kept, "float32")
