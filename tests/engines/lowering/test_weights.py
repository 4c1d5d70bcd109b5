"""Products with integer weights as ONNX Runtime computes them, against what the integers stand for."""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx_ir.passes import PreconditionError

from clasp_trt.engines.lowering import lower_file
from clasp_trt.engines.lowering.weights import lower_weights
from tests import rounding

_KINDS = {"float32": ir.DataType.FLOAT, "float16": ir.DataType.FLOAT16}


class Graph:
    """A graph of products and look-ups, whose weights are stored beside it."""

    def __init__(self, path: Path, dtype: str = "float32") -> None:
        self.path, self.kind = path, _KINDS[dtype]
        self.tape, self.inputs, self.outputs = ir.tape.Tape(), list[ir.Value](), list[ir.Value]()
        self.weights: dict[str, NDArray[np.float32]] = {}

    def weight(
        self, name: str, matrix: NDArray[np.float32], bits: int, block: int | None, *, table: bool = False
    ) -> ir.Value:
        """``matrix`` ``[outputs, inputs]``, rounded, turned unless it is a ``table``."""
        values, scales = rounding.rounded(matrix, bits, block)
        scales = scales.astype(self.kind.numpy())
        self.weights[name] = rounding.floats(values, scales)
        held = values if table else values.T
        scaled = scales[:, 0] if block is None else scales.T
        integers = self.tape.initializer(
            ir.Tensor(np.ascontiguousarray(held).astype(np.int8))
            if bits == 8
            else ir.tensor(np.ascontiguousarray(held).astype(ir.DataType.INT4.numpy())),
            name,
        )
        attributes = {
            "axis": 0 if table or block is not None else 1,
            **({} if block is None else {"block_size": block}),
        }
        scale = self.tape.initializer(ir.Tensor(np.ascontiguousarray(scaled)), f"{name}_scale")
        return self.tape.op("DequantizeLinear", [integers, scale], attributes)

    def input(self, name: str, shape: tuple[int | str, ...], kind: ir.DataType | None = None) -> ir.Value:
        self.inputs.append(ir.val(name, dtype=kind or self.kind, shape=shape))
        return self.inputs[-1]

    def output(self, value: ir.Value, name: str, shape: tuple[int | str, ...]) -> None:
        value.name, value.dtype, value.shape = name, self.kind, ir.Shape(shape)
        self.outputs.append(value)

    def save(self) -> None:
        graph = ir.Graph(
            self.inputs, self.outputs, nodes=self.tape.nodes, initializers=self.tape.initializers,
            opset_imports={"": 24}, name="g",
        )  # fmt: skip
        ir.save(
            ir.Model(graph, ir_version=11), self.path, external_data=f"{self.path.name}.data", size_threshold_bytes=256
        )

    def run(self, **feed: NDArray[Any]) -> list[NDArray[Any]]:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.add_session_config_entry("session.x64quantprecision", "1")
        found: list[NDArray[Any]] = ort.InferenceSession(str(self.path), options).run(None, feed)
        return found

    def operators(self) -> Counter[str]:
        return Counter(node.op_type for node in ir.load(self.path).graph)


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    found = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    found[..., ::7] *= 30  # inputs that stand out, as activations have them
    return found


def bound(rows: NDArray[Any], weight: NDArray[np.float32], block: int) -> NDArray[np.float64]:
    """How far a product may be off whose rows are rounded to 8 bits by block: half a step of each, at the worst."""
    apart = np.abs(rows.astype(np.float64)).reshape(*rows.shape[:-1], -1, block)
    steps = np.repeat(apart.max(-1) / 127, block, axis=-1).reshape(rows.shape)
    return 0.5 * steps @ np.abs(weight.T.astype(np.float64))


@pytest.mark.parametrize("dtype", _KINDS)
@pytest.mark.parametrize("block", [16, 32, 128])
def test_a_product_in_blocks(tmp_path: Path, block: int, dtype: str) -> None:
    g = Graph(tmp_path / "g.onnx", dtype)
    product = g.tape.op("MatMul", [g.input("x", (1, "n", 256)), g.weight("w", noise(40, 256), 4, block)])
    g.output(product, "y", (1, "n", 40))
    g.save()
    assert lower_weights(g.path, products=True)
    assert g.operators() == {"MatMulNBits": 1}
    rows = noise(1, 5, 256, seed=1).astype(dtype)
    (found,) = g.run(x=rows)
    truth, allowed = rows.astype(np.float64) @ g.weights["w"].T.astype(np.float64), bound(rows, g.weights["w"], block)
    slack = np.abs(truth) * np.finfo(dtype).eps * 4
    assert (np.abs(found - truth) <= allowed + slack).all()
    assert np.abs(found - truth).mean() < allowed.mean() / 4, "rounding errors of many terms cancel"


@pytest.mark.parametrize("dtype", _KINDS)
def test_a_product_by_output_rounds_each_row_by_itself(tmp_path: Path, dtype: str) -> None:
    """It is the product of integers to the last bits, and what a row gives does not hang on the others."""
    g = Graph(tmp_path / "g.onnx", dtype)
    product = g.tape.op("MatMul", [g.input("x", (1, "n", 96)), g.weight("w", noise(40, 96), 8, None)])
    g.output(product, "y", (1, "n", 40))
    g.save()
    assert lower_weights(g.path, products=True)
    assert g.operators()["MatMulIntegerToFloat"] == 1
    assert "MatMul" not in g.operators()
    rows = noise(1, 6, 96, seed=1).astype(dtype)
    rows[0, 2] *= 1000 if dtype == "float32" else 2
    rows[0, 4] = 0
    (found,) = g.run(x=rows)
    values, scales = rounding.rounded(rows[0].astype(np.float32), 8, None)
    truth = rounding.floats(values, scales).astype(np.float64) @ g.weights["w"].T.astype(np.float64)
    slack = 1e-5 if dtype == "float32" else 1e-3
    near = bound(rows, g.weights["w"], 96)[0] / 50  # a value next to a tie may be rounded the other way
    assert (np.abs(found[0] - truth) <= np.abs(truth) * slack + near).all()
    alone = np.concatenate([g.run(x=rows[:, number : number + 1])[0] for number in range(6)], axis=1)
    np.testing.assert_array_equal(found, alone)
    assert not found[0, 4].any()


def test_a_weight_of_two_products_and_rows_of_two_weights(tmp_path: Path) -> None:
    g = Graph(tmp_path / "g.onnx")
    x, z, w = g.input("x", (1, "n", 64)), g.input("z", (1, "n", 64)), g.weight("w", noise(16, 64), 8, None)
    other = g.weight("v", noise(16, 64, seed=5), 8, None)
    for name, (rows, weight) in {"a": (x, w), "b": (z, w), "c": (x, other)}.items():
        g.output(g.tape.op("MatMul", [rows, weight]), name, (1, "n", 16))
    g.save()
    lower_weights(g.path, products=True)
    assert g.operators()["QuantizeLinear"] == 2
    feed = {"x": noise(1, 3, 64, seed=1), "z": noise(1, 3, 64, seed=2)}
    for found, rows, weight in zip(g.run(**feed), ("x", "z", "x"), ("w", "w", "v"), strict=True):
        truth = feed[rows] @ g.weights[weight].T
        assert (np.abs(found - truth) <= bound(feed[rows], g.weights[weight], 64) + 1e-3).all()


@pytest.mark.parametrize("dtype", _KINDS)
@pytest.mark.parametrize("products", [True, False])
def test_rows_of_a_table_are_those_of_its_floats(tmp_path: Path, products: bool, dtype: str) -> None:
    g = Graph(tmp_path / "g.onnx", dtype)
    index = g.input("i", (1, "n"), ir.DataType.INT64)
    rows = g.tape.op("Gather", [g.weight("w", noise(30, 64), 8, None, table=True), index])
    g.output(rows, "y", (1, "n", 64))
    g.save()
    assert lower_weights(g.path, products=products)
    assert "DequantizeLinear" not in g.operators()
    ids = np.array([[3, 0, 29, 3]])
    np.testing.assert_array_equal(g.run(i=ids)[0], g.weights["w"][ids].astype(dtype))


def test_what_is_not_for_the_cpu_keeps_its_products(tmp_path: Path) -> None:
    g = Graph(tmp_path / "g.onnx")
    g.output(g.tape.op("MatMul", [g.input("x", (1, "n", 64)), g.weight("w", noise(16, 64), 4, 32)]), "y", (1, "n", 16))
    g.save()
    before = g.path.read_bytes(), (tmp_path / "g.onnx.data").read_bytes()
    assert not lower_weights(g.path, products=False)
    assert (g.path.read_bytes(), (tmp_path / "g.onnx.data").read_bytes()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"g.onnx", "g.onnx.data"}


def test_floats_are_left_alone(tmp_path: Path) -> None:
    g = Graph(tmp_path / "g.onnx")
    w = g.tape.initializer(ir.Tensor(noise(64, 16)), "w")
    g.output(g.tape.op("MatMul", [g.input("x", (1, "n", 64)), w]), "y", (1, "n", 16))
    g.save()
    before = g.path.read_bytes()
    assert not lower_weights(g.path, products=True)
    assert g.path.read_bytes() == before


def test_integers_with_a_zero_of_their_own_are_refused(tmp_path: Path) -> None:
    g = Graph(tmp_path / "g.onnx")
    floats = g.weight("w", noise(16, 64), 8, None)
    node = floats.producer()
    assert node is not None
    zeros = g.tape.initializer(ir.Tensor(np.zeros(16, np.int8)), "zeros")
    product = g.tape.op(
        "MatMul", [g.input("x", (1, "n", 64)), g.tape.op("DequantizeLinear", [*node.inputs, zeros], {"axis": 1})]
    )
    g.output(product, "y", (1, "n", 16))
    g.save()
    with pytest.raises(PreconditionError, match="not symmetric"):
        lower_weights(g.path, products=True)
    assert {path.name for path in tmp_path.iterdir()} == {"g.onnx", "g.onnx.data"}


def test_8_bit_integers_are_known_to_opset_20_and_those_of_4_are_not(tmp_path: Path) -> None:
    rows = noise(1, 3, 64, seed=1)
    for bits, block in ((8, None), (4, 32)):
        folder = tmp_path / str(bits)
        folder.mkdir()
        g = Graph(folder / "g.onnx")
        product = g.tape.op("MatMul", [g.input("x", (1, "n", 64)), g.weight("w", noise(16, 64), bits, block)])
        g.output(product, "y", (1, "n", 16))
        g.save()
        if bits == 4:
            with pytest.raises(onnx.checker.ValidationError):
                lower_file(g.path, 20)
            continue
        assert lower_file(g.path, 20)
        assert ir.load(g.path).graph.opset_imports[""] == 20
        options = ort.SessionOptions()
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        (found,) = ort.InferenceSession(str(g.path), options).run(None, {"x": rows})
        np.testing.assert_allclose(found, rows @ g.weights["w"].T, rtol=1e-4, atol=1e-3)


def test_one_weight_is_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory grows with the number of weights by less than half of what they are, a byte for each 4 bits."""
    monkeypatch.setattr(rounding, "rounded", lambda m, *_: (np.zeros(m.shape, np.int8), np.ones((len(m), 8), "f4")))
    inputs, outputs, peaks = 256, 1024, []
    for count in (2, 14):
        (tmp_path / str(count)).mkdir()
        g = Graph(tmp_path / str(count) / "g.onnx")
        for number in range(count):
            rows = g.input(f"x{number // 2}", (1, "n", inputs)) if number % 2 == 0 else g.inputs[-1]
            product = g.tape.op("MatMul", [rows, g.weight(f"w{number}", noise(outputs, inputs), 4, 32)])
            g.output(product, f"y{number}", (1, "n", outputs))
        g.save()
        del g
        gc.collect()
        tracemalloc.start()
        try:
            assert lower_weights(tmp_path / str(count) / "g.onnx", products=True, joins=True)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] - peaks[0] < 12 * inputs * outputs / 2
