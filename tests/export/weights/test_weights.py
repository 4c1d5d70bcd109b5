"""Weights between disk and graph: transforms compose, and none reads a weight before it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.exporter import GRAPHS, save
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.weights import transforms
from clasp_trt.export.weights.graph import Weights
from clasp_trt.export.weights.stored import Tensors, Weight, stored
from clasp_trt.export.weights.transforms import cast, renamed, tied


def test_transforms_compose_and_read_nothing() -> None:
    """A transform of one's own, here one that doubles, stands among the others."""
    read: list[str] = []

    def weight(key: str, value: float) -> Weight:
        def values() -> torch.Tensor:
            read.append(key)
            return torch.tensor([value])

        return Weight(key, (1,), "float64", values)

    def doubled(tensors: Tensors) -> dict[str, Weight]:
        return {name: replace(w, read=lambda w=w: 2 * w.read()) for name, w in tensors.items()}  # type: ignore[misc]

    tensors = {"old.a": weight("old.a", 1.5), "old.b": weight("old.b", 4.0)}
    made = tied(renamed(tensors, ((r"old\.", "new."),)), "new.c", "new.b")
    weights = Weights(cast(doubled(made), "float16"), "new.")
    lazy = {name: weights.tensor(name) for name in "abc"}
    assert weights.nbytes("") == 3 * 2
    assert read == []
    assert {name: tensor.numpy().tolist() for name, tensor in lazy.items()} == {"a": [3.0], "b": [8.0], "c": [8.0]}
    assert read == ["old.a", "old.b", "old.b"]


@pytest.mark.parametrize("on_disk", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_type_on_disk_does_not_matter(tmp_path: Path, on_disk: str, dtype: str) -> None:
    tensor = torch.tensor([[1.0, -2.5, 3.0], [0.1, 65000.0, 1e-3]], dtype=getattr(torch, on_disk))
    save_file({"w.weight": tensor}, tmp_path / "model.safetensors")
    weights = Weights(cast(stored(Checkpoint(tmp_path)), dtype))
    expected = tensor.to(getattr(torch, dtype)).to(torch.float64).numpy()
    plain, turned = weights.tensor("w.weight"), weights.linear("w", 3, 2)
    np.testing.assert_array_equal(plain.numpy().astype(np.float64), expected)
    np.testing.assert_array_equal(turned.numpy().astype(np.float64), expected.T)
    assert tuple(turned.shape) == (3, 2)


def test_a_weight_is_cast_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a check holds beside a large weight is no larger than a part; the last part counts too."""
    monkeypatch.setattr(transforms, "_PART", 4)
    values = torch.arange(15.0).reshape(3, 5).t()  # not as it lies in memory
    made = cast({"w": Weight("w", (5, 3), "float32", lambda: values)}, "float16")["w"].read()
    assert torch.equal(made, values.to(torch.float16))
    values[4, 2] = -1e6
    with pytest.raises(CheckpointError, match="w holds 1e"):
        cast({"w": Weight("w", (5, 3), "float32", lambda: values)}, "float16")["w"].read()


@pytest.mark.parametrize("on_disk", ["float32", "bfloat16"])
def test_a_value_beyond_fp16_is_refused_by_name(tmp_path: Path, on_disk: str) -> None:
    values = torch.tensor([1.0, -70000.0, torch.inf], dtype=getattr(torch, on_disk))
    save_file({"w": values}, tmp_path / "model.safetensors")
    tensors = stored(Checkpoint(tmp_path))
    with pytest.raises(CheckpointError, match=r"70\d+, beyond the 65504 of float16; use.*bf16 or fp32"):
        Weights(cast(tensors, "float16")).tensor("w").numpy()
    for dtype in ("bfloat16", "float32"):
        assert np.isinf(Weights(cast(tensors, dtype)).tensor("w").numpy().astype(np.float64)).tolist() == [
            False,
            False,
            True,
        ]


def test_the_largest_fp16_value_is_not_beyond_it(tmp_path: Path) -> None:
    save_file({"w": torch.tensor([65504.0, -65519.0])}, tmp_path / "model.safetensors")
    found = Weights(cast(stored(Checkpoint(tmp_path)), "float16")).tensor("w").numpy()
    assert found.tolist() == [65504.0, -65504.0]


def test_a_value_beyond_fp16_is_one_line_through_the_export_s_writer(tmp_path: Path) -> None:
    save_file({"w": torch.full((1024,), 1e6)}, tmp_path / "model.safetensors")
    g = GraphBuilder("segment", "A test.")
    weight = g.weight("w", Weights(cast(stored(Checkpoint(tmp_path)), "float16")).tensor("w"))
    g.output(g.op("Identity", weight), "y", "float16", [1024], "the weight")
    (tmp_path / GRAPHS).mkdir()
    with pytest.raises(CheckpointError, match="w holds 1e"):
        save(g.model(), tmp_path, lambda name, size: None)
