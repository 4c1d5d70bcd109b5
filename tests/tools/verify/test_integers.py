"""Integers that are read back from graphs: as an export writes them, laid out by output, and side by side."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from clasp_trt.bundle import Bundle, Graph, Segment
from clasp_trt.bundle.roundings import Rounding, dumps
from clasp_trt.errors import BundleError
from clasp_trt.export.weights.kept import fingerprint
from clasp_trt.tools.verify.calibrated import Calibrated
from clasp_trt.tools.verify.integers import integers
from tests.mistakes import says

NAMES = ("layers.0.mlp.gate_proj.weight", "layers.0.mlp.up_proj.weight")
SHAPE = (6, 64)


def matrices() -> dict[str, tuple[Any, Any]]:
    rng = np.random.default_rng(0)
    return {
        name: (rng.integers(-7, 8, SHAPE, dtype=np.int8), rng.random((SHAPE[0], 2)).astype(np.float32))
        for name in NAMES
    }


def stored(form: str) -> dict[str, Any]:
    """The initializers of a graph that holds :func:`matrices` in a ``form``."""
    made = matrices()
    if form == "exported":
        whole = {name: values.T.astype(ml_dtypes.int4) for name, (values, _) in made.items()}
        return whole | {f"{name}_scale": np.ascontiguousarray(scales.T) for name, (_, scales) in made.items()}
    values, scales = (np.concatenate([each[place] for each in made.values()]) for place in (0, 1))
    octets = (values + 8).astype(np.uint8)
    packed = (octets[:, 0::2] | octets[:, 1::2] << 4).reshape(len(octets), 2, -1)
    joined = "+".join(NAMES)
    return {f"{joined}_by_output": packed, f"{'+'.join(f'{name}_scale' for name in NAMES)}_by_output": scales}


def bundle_of(held: dict[str, Any], root: Path) -> Bundle:
    values = [
        ir.Value(name=name, const_value=ir.tensor(array, name=name), shape=ir.Shape(array.shape))
        for name, array in held.items()
    ]
    graph = ir.Graph([], [], nodes=[], initializers=values, opset_imports={"": 21}, name="segment_0")
    ir.save(ir.Model(graph, ir_version=10), root / "segment_0.onnx")
    told = [Rounding(name, SHAPE, fingerprint(*each), 0.1, 0.1, 0.2) for name, each in matrices().items()]
    (root / "rounding.json").write_text(dumps(told))
    manifest = SimpleNamespace(segments=(Segment("segment_0", 0, 0, 8),), precision="fp32")
    found = SimpleNamespace(
        root=root, manifest=manifest, path=lambda name: root / name,
        graph=lambda name: Graph(name, f"{name}.onnx", (), ()),
    )  # fmt: skip
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("form", ["exported", "joined"])
def test_they_are_those_that_were_made(form: str, tmp_path: Path) -> None:
    found = integers(bundle_of(stored(form), tmp_path), dict.fromkeys(NAMES, SHAPE))
    for name, (values, scales) in matrices().items():
        assert (found[name].bits, found[name].block) == (4, 32)
        np.testing.assert_array_equal(found[name].values("float32"), values)
        np.testing.assert_array_equal(found[name].scales("float32"), scales)


@pytest.mark.parametrize(("place", "named"), [(0, NAMES[0]), (-1, NAMES[1])])
def test_one_that_is_another_is_named(place: int, named: str, tmp_path: Path) -> None:
    held = stored("joined")
    held[next(iter(held))].reshape(-1)[place] ^= 1
    bundle = bundle_of(held, tmp_path)
    segment = bundle.manifest.segments[0]
    integer, change = Calibrated(bundle).checks(bundle.graph("segment_0"), segment, dict.fromkeys(NAMES, 0.1))
    assert not integer.passed
    says(integer.output, "layer 0 integers", named)
    assert change.passed


def test_other_weights_are_told_by_their_change(tmp_path: Path) -> None:
    bundle = bundle_of(stored("joined"), tmp_path)
    segment = bundle.manifest.segments[0]
    checks = Calibrated(bundle).checks(bundle.graph("segment_0"), segment, {NAMES[0]: 0.1, NAMES[1]: 0.3})
    assert [check.passed for check in checks] == [True, False]


def test_a_matrix_that_is_not_there(tmp_path: Path) -> None:
    bundle = bundle_of(stored("joined"), tmp_path)
    told = json.loads((tmp_path / "rounding.json").read_text())
    told["matrices"].append({**told["matrices"][0], "name": "layers.0.mlp.down_proj.weight"})
    (tmp_path / "rounding.json").write_text(json.dumps(told))
    with pytest.raises(BundleError) as error:
        Calibrated(bundle)
    says(error, "layers.0.mlp.down_proj.weight", "rounding.json")
