"""Large tensors are drawn in part and continued: of the size that was asked for, with no two rows alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from examples import random_weights
from examples.random_weights import TensorSpec, write_weights


@pytest.fixture
def _drawn_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_weights, "DRAWN", 128)


@pytest.mark.usefixtures("_drawn_in_part")
@pytest.mark.parametrize("rows", [1, 16, 17, 25, 100])
def test_a_large_tensor_repeats_no_row(tmp_path: Path, rows: int) -> None:
    write_weights(tmp_path, [TensorSpec("large", (rows, 8), 2.0, mean=1.0)], "float32", 0, None)
    found = load_file(tmp_path / "model.safetensors")["large"]
    assert found.shape == (rows, 8)
    assert len(np.unique(found, axis=0)) == rows
    assert np.isfinite(found).all()


@pytest.mark.usefixtures("_drawn_in_part")
@pytest.mark.parametrize("zeros", [(0,), (14,), (3, 13, 14, 24)])
def test_rows_are_zero_wherever_a_part_ends(tmp_path: Path, zeros: tuple[int, ...]) -> None:
    """Row 14 of nine lies in two parts."""
    specs = [TensorSpec("head", (25, 9), 1.0, zero_rows=zeros), TensorSpec("other", (5,), 1.0)]
    write_weights(tmp_path, specs, "float16", 0, None)
    found = load_file(tmp_path / "model.safetensors")["head"]
    assert tuple(np.flatnonzero((found == 0).all(axis=1))) == zeros
    assert np.count_nonzero(found) == found.size - 9 * len(zeros)


@pytest.mark.usefixtures("_drawn_in_part")
def test_the_number_of_shards_changes_no_large_tensor(tmp_path: Path) -> None:
    specs = [TensorSpec(name, (30, 8), 1.0) for name in "abc"]
    for shards in (1, 3):
        (tmp_path / str(shards)).mkdir()
        write_weights(tmp_path / str(shards), specs, "bfloat16", 0, shards)
    bodies = [sorted(file.read_bytes()[-480:] for file in (tmp_path / "3").glob("*.safetensors"))]
    whole = (tmp_path / "1" / "model.safetensors").read_bytes()[-3 * 480 :]
    assert bodies == [sorted(whole[start : start + 480] for start in range(0, 3 * 480, 480))]
