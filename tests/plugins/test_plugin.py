"""The plugins as TensorRT uses them: registered, created, asked for shapes and formats, cloned, attached, run."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from clasp_trt.errors import BackendError
from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.plugins import Program, register
from clasp_trt.plugins.fields import field_names
from clasp_trt.plugins.plugin import creator
from clasp_trt.plugins.program import OPERATORS as FIXED
from clasp_trt.plugins.program import VARYING
from tests.plugins import fake_trt
from tests.plugins.fake_trt import DataType, TensorFormat, described, dims, tensor
from tests.plugins.null_driver import NullDriver
from tests.plugins.programs import OPERATORS, program, varying_program

FLOAT, INT64, BOOL = DataType.FLOAT, DataType.INT64, DataType.BOOL
TYPES = {PIVOT_SELECT.name: ([FLOAT, INT64], [BOOL]), SPHERICAL_KMEANS.name: ([FLOAT, BOOL], [INT64, BOOL])}
SHAPES = {
    PIVOT_SELECT.name: ([(1, 16), (1,)], [(1, 16)]),
    SPHERICAL_KMEANS.name: ([(1, 16, 16), (1, 16)], [(1, 4), (1, 4)]),
}
GIVEN = described(*SHAPES[PIVOT_SELECT.name][0])
BUILD, RUNTIME = "build", "runtime"


def _fields(trt: Any, made: Program) -> list[Any]:
    """What the parser gives a creator."""
    kinds = {"kernels": trt.PluginFieldType.CHAR, "cubins": trt.PluginFieldType.INT8}
    return [
        trt.PluginField(name, data, kinds.get(name, trt.PluginFieldType.INT32)) for name, data in made.fields().items()
    ]


@pytest.fixture
def driver() -> NullDriver:
    return NullDriver()


@pytest.fixture
def create(driver: NullDriver) -> Callable[..., Any]:
    def make(operator: str, varies: bool = False) -> Any:
        trt = fake_trt.module()
        made = varying_program(operator) if varies else program(operator)
        return creator(trt, operator, lambda: driver).create_plugin("node", _fields(trt, made), BUILD)

    return make


def test_both_are_registered_once_and_what_is_there_stays() -> None:
    trt = fake_trt.module()
    register(trt)
    creators = dict(trt.get_plugin_registry().creators)
    assert set(creators) == {(operator, "1", "clasp") for operator in OPERATORS}
    register(trt)
    assert trt.get_plugin_registry().creators == creators
    for (operator, *_), made in creators.items():
        named = {field.name for field in made.field_names}
        assert named == {*field_names(FIXED[operator]), *field_names(VARYING[operator])}


def test_a_registry_that_refuses_is_an_error() -> None:
    trt = fake_trt.module()
    trt.get_plugin_registry().refuses = True
    with pytest.raises(BackendError, match=r"TensorRT.*ClaspPivotSelect"):
        register(trt)


@pytest.mark.parametrize("operator", OPERATORS)
def test_what_is_serialised_makes_the_same_plugin_again(create: Callable[..., Any], operator: str) -> None:
    plugin, trt = create(operator), fake_trt.module()
    again = creator(trt, operator).create_plugin("node", plugin.get_fields_to_serialize(), RUNTIME)
    assert again.program == plugin.program == program(operator)
    assert (again.plugin_name, again.plugin_version, again.plugin_namespace) == (operator, "1", "clasp")


@pytest.mark.parametrize("operator", OPERATORS)
def test_types_and_shapes_are_the_contract_s(create: Callable[..., Any], operator: str) -> None:
    plugin = create(operator)
    inputs, outputs = TYPES[operator]
    taken, given = SHAPES[operator]
    assert plugin.num_outputs == len(outputs)
    assert plugin.get_output_data_types(inputs) == outputs
    shapes = plugin.get_output_shapes([dims(*shape) for shape in taken], [], fake_trt.ExprBuilder())
    assert [tuple(fake_trt.sizes(shape)) for shape in shapes] == given
    assert plugin.get_workspace_size(described(*taken), []) == 512


@pytest.mark.parametrize("operator", OPERATORS)
def test_inputs_of_another_type_or_shape_are_refused(create: Callable[..., Any], operator: str) -> None:
    plugin = create(operator)
    inputs, _ = TYPES[operator]
    taken, _ = SHAPES[operator]
    with pytest.raises(TypeError, match=f"{operator} takes inputs"):
        plugin.get_output_data_types([DataType.HALF, *inputs[1:]])
    for wrong in (None, 17):
        shapes = [dims(1, wrong, *taken[0][2:]), dims(*taken[1])]
        with pytest.raises(ValueError, match=f"{operator}.*for an input"):
            plugin.get_output_shapes(shapes, [], fake_trt.ExprBuilder())


@pytest.mark.parametrize("operator", OPERATORS)
def test_only_the_contract_s_types_in_linear_order_are_taken(create: Callable[..., Any], operator: str) -> None:
    plugin = create(operator)
    inputs, outputs = TYPES[operator]
    every = [*inputs, *outputs]
    for position, kind, order in itertools.product(range(len(every)), DataType, TensorFormat):
        offered = [tensor(wanted) for wanted in every]
        offered[position] = tensor(kind, order)
        taken = plugin.supports_format_combination(position, offered, len(inputs))
        assert taken == (kind is every[position] and order is TensorFormat.LINEAR)


def test_a_node_that_is_not_complete_is_no_plugin() -> None:
    trt = fake_trt.module()
    fields = _fields(trt, program(PIVOT_SELECT.name))[:1]
    with pytest.raises(ValueError, match="lacks the field shape"):
        creator(trt, PIVOT_SELECT.name).create_plugin("node", fields, BUILD)


def test_building_asks_nothing_of_the_driver(driver: NullDriver, create: Callable[..., Any]) -> None:
    plugin = create(SPHERICAL_KMEANS.name)
    plugin.configure_plugin([], [])
    plugin.clone().get_fields_to_serialize()
    plugin.destroy()
    assert plugin.get_valid_tactics() == []
    assert driver.log == []


def test_each_context_has_a_launcher_of_its_own(driver: NullDriver, create: Callable[..., Any]) -> None:
    plugin = create(PIVOT_SELECT.name)
    one, two = plugin.attach_to_context(None), plugin.attach_to_context(None)
    assert plugin.launcher is None
    assert sum(line.startswith("cuLibraryLoadData") for line in driver.log) == 2
    clone = one.clone()
    assert clone.launcher is None, "a clone is not attached"
    one.destroy()
    driver.log.clear()
    two.on_shape_change(GIVEN, [])
    two.enqueue(GIVEN, [], [1, 2], [3], 0, 7)
    assert [line.split()[0] for line in driver.log] == ["cuLaunchKernel"] * 3, "nothing but launches"
    two.destroy()
    assert driver.log[-1] == "cuLibraryUnload 2"


def test_a_builder_that_times_plugins_needs_no_context(driver: NullDriver, create: Callable[..., Any]) -> None:
    plugin = create(PIVOT_SELECT.name)
    plugin.set_tactic(0)
    plugin.on_shape_change(GIVEN, [])
    plugin.on_shape_change(GIVEN, [])
    plugin.enqueue(GIVEN, [], [1, 2], [3], 0, 7)
    assert sum(line.startswith("cuLibraryLoadData") for line in driver.log) == 1


def test_running_before_anything_was_loaded_is_an_error(create: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError, match="was not attached to a context"):
        create(PIVOT_SELECT.name).enqueue(GIVEN, [], [1, 2], [3], 0, 7)


def _arriving(operator: str) -> list[fake_trt.DimsExprs]:
    """Inputs of a graph that takes any number of tokens: shapes that are not known, each size its own."""
    first = dims(1, None) if operator == PIVOT_SELECT.name else dims(1, None, None)
    return [first, dims(1) if operator == PIVOT_SELECT.name else dims(1, None), dims(None)]


@pytest.mark.parametrize("operator", OPERATORS)
def test_shapes_of_a_request_come_from_its_inputs(create: Callable[..., Any], operator: str) -> None:
    plugin, inputs = create(operator, varies=True), _arriving(operator)
    taken, given = TYPES[operator]
    assert plugin.get_output_data_types([*taken, INT64]) == given
    shapes = plugin.get_output_shapes(inputs, [], fake_trt.ExprBuilder())
    counted = inputs[0][1] if operator == PIVOT_SELECT.name else inputs[2][0]
    assert all(shape[0].get_constant_value() == 1 and shape[1] is counted for shape in shapes)
    assert len(shapes) == len(given)


@pytest.mark.parametrize("operator", OPERATORS)
def test_what_no_request_has_is_refused(create: Callable[..., Any], operator: str) -> None:
    plugin, builder = create(operator, varies=True), fake_trt.ExprBuilder()
    with pytest.raises(ValueError, match=f"{operator}.*batch|{operator}.*1, 'tokens'"):
        plugin.get_output_shapes(
            [dims(2, *[None] * (len(_arriving(operator)[0]) - 1)), *_arriving(operator)[1:]], [], builder
        )
    with pytest.raises(ValueError, match=f"{operator}.*'keep'"):
        plugin.get_output_shapes([*_arriving(operator)[:2], dims(None, None)], [], builder)


def test_the_workspace_is_for_the_most_of_a_profile(create: Callable[..., Any]) -> None:
    plugin, made = create(PIVOT_SELECT.name, varies=True), varying_program(PIVOT_SELECT.name)
    assert plugin.get_workspace_size(described((1, 900), (1,), (80,)), []) == made.workspace_bytes(900, 80) > 4 * 900


def test_each_shape_is_prepared_before_it_runs(driver: NullDriver, create: Callable[..., Any]) -> None:
    plugin = create(PIVOT_SELECT.name, varies=True).attach_to_context(None)
    for tokens, keep in ((2000, 9), (64, 32), (2000, 9)):
        given = described((1, tokens), (1,), (keep,))
        plugin.on_shape_change(given, [])
        driver.log.clear()
        plugin.enqueue(given, [], [1, 2, 5], [3], 0, 7)
        assert {line.split()[0] for line in driver.log} == {"cuLaunchKernel"}, "nothing but launches"
        assert driver.log[0].split()[2] == str(-(-tokens // 32))
