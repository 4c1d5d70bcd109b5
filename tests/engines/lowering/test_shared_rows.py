"""Products of the same rows as one: which are joined, and that no number changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from clasp_trt.engines.lowering.weights import lower_weights
from tests.engines.lowering.test_weights import Graph, noise

_WIDE = 64
_OUTPUTS = (32, 16, 48)
_FORMS = {"floats": None, "int8": (8, None), "int4:32": (4, 32), "int4:16": (4, 16)}


def _weight(g: Graph, name: str, outputs: int, form: str) -> ir.Value:
    matrix = noise(outputs, _WIDE, seed=outputs)
    held = _FORMS[form]
    if held is None:
        return g.tape.initializer(ir.Tensor(np.ascontiguousarray(matrix.T)), name)
    return g.weight(name, matrix, *held)


def _bias(g: Graph, name: str, outputs: int) -> ir.Value:
    return g.tape.initializer(ir.Tensor(noise(outputs, seed=outputs + 1)), f"{name}_bias")


def _graph(path: Path, forms: Sequence[str], biases: Sequence[bool]) -> Graph:
    """A product of the same rows in each of ``forms``, perhaps with a bias."""
    g = Graph(path)
    x = g.input("x", (1, "n", _WIDE))
    for number, (form, has_bias, outputs) in enumerate(zip(forms, biases, _OUTPUTS, strict=True)):
        product = g.tape.op("MatMul", [x, _weight(g, f"w{number}", outputs, form)])
        if has_bias:
            product = g.tape.op("Add", [product, _bias(g, f"w{number}", outputs)])
        g.output(product, f"y{number}", (1, "n", outputs))
    g.save()
    return g


def _both(folder: Path, forms: Sequence[str], biases: Sequence[bool]) -> tuple[Graph, Graph]:
    """The graph as ONNX Runtime multiplies it, and the same with its products joined."""
    found = []
    for joins in (False, True):
        (folder / str(joins)).mkdir()
        g = _graph(folder / str(joins) / "g.onnx", forms, biases)
        lower_weights(g.path, products=True, joins=joins)
        found.append(g)
    return found[0], found[1]


def _products(g: Graph) -> int:
    return sum(count for kind, count in g.operators().items() if kind.startswith("MatMul"))


def _assert_equal(apart: Graph, joined: Graph) -> None:
    rows = noise(1, 5, _WIDE, seed=3)
    for one, other in zip(apart.run(x=rows), joined.run(x=rows), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("biases", [(False,) * 3, (True,) * 3, (True, False, True)], ids=["none", "all", "some"])
@pytest.mark.parametrize("form", _FORMS)
def test_products_held_alike_become_one(tmp_path: Path, form: str, biases: tuple[bool, ...]) -> None:
    apart, joined = _both(tmp_path, [form] * 3, biases)
    assert (_products(apart), _products(joined)) == (3, len(set(biases))), "those with a bias, and those without"
    assert joined.operators()["Add"] == any(biases), "biases are joined as well"
    _assert_equal(apart, joined)


def test_products_held_in_different_ways_stay_apart(tmp_path: Path) -> None:
    apart, joined = _both(tmp_path, ["int4:32", "int4:16", "int4:32"], [False] * 3)
    assert (_products(apart), _products(joined)) == (3, 2)
    _assert_equal(apart, joined)


def test_zero_points_are_joined_and_kept_from_those_without(tmp_path: Path) -> None:
    sums = []
    for joins in (False, True):
        g = Graph(tmp_path / f"{joins}.onnx")
        x = g.input("x", (1, "n", _WIDE))
        for number, outputs in enumerate(_OUTPUTS):
            weight = _weight(g, f"w{number}", outputs, "int4:32")
            node = weight.producer()
            assert node is not None
            if number < 2:
                zeros = np.random.default_rng(number).integers(-8, 8, (2, outputs)).astype(ir.DataType.INT4.numpy())
                held = g.tape.initializer(ir.tensor(zeros), f"w{number}_zeros")
                node.resize_inputs(3)
                node.replace_input_with(2, held)
            g.output(g.tape.op("MatMul", [x, weight]), f"y{number}", (1, "n", outputs))
        g.save()
        lower_weights(g.path, products=True, joins=joins)
        assert _products(g) == (2 if joins else 3)
        sums.append(g.run(x=noise(1, 5, _WIDE, seed=3)))
    for one, other in zip(*sums, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("form", ["floats", "int8"])
def test_a_weight_that_another_product_reads_is_not_doubled(tmp_path: Path, form: str) -> None:
    g = Graph(tmp_path / "g.onnx")
    x, z = (g.input(name, (1, "n", _WIDE)) for name in "xz")
    shared, own = _weight(g, "w", 32, form), _weight(g, "v", 16, form)
    for number, (rows, weight, outputs) in enumerate([(x, shared, 32), (z, shared, 32), (x, own, 16)]):
        g.output(g.tape.op("MatMul", [rows, weight]), f"y{number}", (1, "n", outputs))
    g.save()
    lower_weights(g.path, products=False, joins=True)
    assert _products(g) == 3


def test_products_of_other_rows_stay_apart(tmp_path: Path) -> None:
    g = Graph(tmp_path / "g.onnx")
    for number, name in enumerate("xz"):
        product = g.tape.op("MatMul", [g.input(name, (1, "n", _WIDE)), _weight(g, f"w{number}", 32, "floats")])
        g.output(product, f"y{number}", (1, "n", 32))
    g.save()
    before = g.path.read_bytes()
    assert not lower_weights(g.path, products=True, joins=True)
    assert g.path.read_bytes() == before
