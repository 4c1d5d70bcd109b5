"""Bundles of rounded weights against their checkpoint, rounded in the same way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clasp_trt.bundle import Bundle
from clasp_trt.export.rounded import RoundedModules, _rounded_rows
from clasp_trt.export.weights.rounding import Rounded
from clasp_trt.export.weights.stored import Weight
from clasp_trt.quantization import INT8, Quantization, Scheme, parse
from clasp_trt.tools.verify import Report
from clasp_trt.tools.verify.parity import compare
from examples.random_llava import PRESETS, make
from tests import rounding

pytestmark = pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")


def report(bundle: Bundle, checkpoint: Path) -> Report:
    from clasp_trt.tools.profile.workload import noise

    return compare(bundle, str(checkpoint), [noise(bundle)], "Is this a bird?")


@pytest.mark.parametrize(
    "options",
    [
        {"quantize": "int4:32"},
        pytest.param({"quantize": "int8", "precision": "fp16"}, marks=pytest.mark.full),
        pytest.param({"quantize": "int4:32", "target": "l4", "backend": "onnxruntime"}, marks=pytest.mark.full),
    ],
    ids=str,
)
def test_it_agrees_and_says_what_rounding_changes(
    built: Callable[..., Bundle], checkpoint: Path, options: dict[str, str]
) -> None:
    found = report(built(**options), checkpoint)
    found.require()
    assert set(found.rounding) == set(parse(options["quantize"]).schemes)
    assert 0.003 < found.rounding["vision"] < 0.01
    if "int4" in options["quantize"]:
        assert 0.05 < found.rounding["decoder"] < 0.12
    assert found.to_json()["rounding"] == found.rounding


def test_another_rounding_than_it_says_drifts(built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(built(quantize="int4:32").root, tmp_path / "bundle")
    path = tmp_path / "bundle" / "clasp.json"
    manifest = json.loads(path.read_text())
    manifest["quantization"]["decoder"] = {"bits": 8, "block": None}
    path.write_text(json.dumps(manifest))
    drift = report(Bundle.open(tmp_path / "bundle"), checkpoint).first_drift
    assert drift is not None
    assert drift.stage.startswith("segment_")


@pytest.mark.full
def test_a_tied_head_and_embedding_of_their_own_schemes(tmp_path: Path) -> None:
    from clasp_trt.tools.build.compiler import build

    folder = make(tmp_path / "checkpoint", replace(PRESETS["tiny"], tie_word_embeddings=True))
    bundle = build(folder, tmp_path / "bundle", max_context=96, budget=8, quantize="head=int4:32,embedding=int8")
    found = report(bundle, folder)
    found.require()
    assert found.rounding["head"] > 5 * found.rounding["embedding"] > 0


@pytest.mark.parametrize("off", [0.0, 0.4, 0.6, -2.0])
@pytest.mark.parametrize("scheme", [Scheme(4, 32), INT8], ids=str)
def test_half_a_step_is_what_rounding_allows(off: float, scheme: Scheme) -> None:
    """Of a weight that is ``off`` by so many steps from the middle of its integer, however long it is."""
    torch.manual_seed(0)  # a weight that lies where two steps more are not cut off
    layer = torch.nn.Linear(64, 6)
    packed = Rounded(Weight("w", (6, 64), "float32", layer.weight.detach), scheme.bits, scheme.block)
    scales = packed.scales("float32")
    middle = torch.from_numpy(packed.values("float32") * scales.repeat(64 // scales.shape[1], axis=1))
    middle[2, 3] += off * float(scales[2, 0])
    inside = replace(packed, weight=replace(packed.weight, key="layers.0.q.weight"))
    layer.weight = torch.nn.Parameter(middle)
    found = RoundedModules(
        {"decoder": torch.nn.ModuleList([torch.nn.ModuleDict({"q": layer})])},
        Quantization({"decoder": scheme}), "float32", {"layers.0.q.weight": inside},
    ).steps["layers.0.q.weight"]  # fmt: skip
    assert found == pytest.approx(2 * abs(off), abs=1e-4)


def test_integers_of_a_layer_that_are_not_its_weights_are_named(
    built: Callable[..., Bundle], tmp_path: Path, checkpoint: Path
) -> None:
    """One weight of a later checkpoint is a step away from that of the bundle."""
    folder = tmp_path / "changed"
    shutil.copytree(checkpoint, folder)
    (file,) = folder.glob("*.safetensors")
    held = load_file(file)
    name = next(key for key in held if key.endswith("layers.2.mlp.down_proj.weight"))
    held[name][0, 0] += held[name].abs().max()
    save_file(held, file, metadata={"format": "pt"})
    drift = report(built(quantize="int4:32"), folder).first_drift
    assert drift is not None
    assert drift.output == "layer 2 weights (mlp.down_proj)"


def test_modules_are_rounded_by_the_definition() -> None:
    first, second = torch.nn.Linear(64, 6), torch.nn.Linear(48, 5)
    table = torch.nn.Embedding(7, 48)
    second.weight = table.weight  # tied
    matrices = [each.weight.detach().clone().numpy() for each in (first, second)]
    schemes = {"decoder": Scheme(4, 32), "embedding": INT8}
    model = RoundedModules({"decoder": [first], "embedding": [table]}, Quantization(schemes), "float32")
    np.testing.assert_array_equal(first.weight.numpy(), rounding.floats(*rounding.rounded(matrices[0], 4, 32)))
    np.testing.assert_array_equal(table.weight.numpy(), rounding.floats(*rounding.rounded(matrices[1], 8, None)))
    np.testing.assert_array_equal(second.weight.detach().numpy(), matrices[1])
    change = first.weight.numpy() - matrices[0]
    assert model.errors["decoder"] == pytest.approx(np.sqrt((change**2).sum() / (matrices[0] ** 2).sum()), rel=1e-5)


def test_rows_are_rounded_only_while_it_is_asked_for() -> None:
    layer = torch.nn.Linear(64, 6, bias=False)
    model = RoundedModules({"decoder": layer}, Quantization({"decoder": Scheme(4, 32)}), "float32")
    rows = torch.randn(3, 64, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    with model.rounding_rows():
        inside = layer(rows)
    values, scales = rounding.rounded(rows.numpy(), 8, 32)
    torch.testing.assert_close(inside, torch.from_numpy(rounding.floats(values, scales)) @ layer.weight.T)
    torch.testing.assert_close(layer(rows), rows @ layer.weight.T)
    assert not _rounded_rows(torch.zeros(2, 32), 32).any()
