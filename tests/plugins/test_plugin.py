"""The plugins as TensorRT uses them: registered, created, asked for shapes and formats, cloned, attached, run."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from clasp_trt.errors import BackendError
from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.plugins import Program, register
from clasp_trt.plugins.plugin import creator
from clasp_trt.plugins.program import field_names
from tests.plugins import fake_trt
from tests.plugins.fake_trt import DataType, TensorFormat, dims, tensor
from tests.plugins.null_driver import NullDriver
from tests.plugins.programs import OPERATORS, program

FLOAT, INT64, BOOL = DataType.FLOAT, DataType.INT64, DataType.BOOL
TYPES = {PIVOT_SELECT.name: ([FLOAT, INT64], [BOOL]), SPHERICAL_KMEANS.name: ([FLOAT, BOOL], [INT64, BOOL])}
SHAPES = {
    PIVOT_SELECT.name: ([(1, 16), (1,)], [(1, 16)]),
    SPHERICAL_KMEANS.name: ([(1, 16, 16), (1, 16)], [(1, 4), (1, 4)]),
}
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
def create(driver: NullDriver) -> Callable[[str], Any]:
    def make(operator: str) -> Any:
        trt = fake_trt.module()
        return creator(trt, operator, lambda: driver).create_plugin("node", _fields(trt, program(operator)), BUILD)

    return make


def test_both_are_registered_once_and_what_is_there_stays() -> None:
    trt = fake_trt.module()
    register(trt)
    creators = dict(trt.get_plugin_registry().creators)
    assert set(creators) == {(operator, "1", "clasp") for operator in OPERATORS}
    register(trt)
    assert trt.get_plugin_registry().creators == creators
    for (operator, *_), made in creators.items():
        assert tuple(field.name for field in made.field_names) == field_names(operator)


def test_a_registry_that_refuses_is_an_error() -> None:
    trt = fake_trt.module()
    trt.get_plugin_registry().refuses = True
    with pytest.raises(BackendError, match=r"TensorRT.*ClaspPivotSelect"):
        register(trt)


@pytest.mark.parametrize("operator", OPERATORS)
def test_what_is_serialised_makes_the_same_plugin_again(create: Callable[[str], Any], operator: str) -> None:
    plugin, trt = create(operator), fake_trt.module()
    again = creator(trt, operator).create_plugin("node", plugin.get_fields_to_serialize(), RUNTIME)
    assert again.program == plugin.program == program(operator)
    assert (again.plugin_name, again.plugin_version, again.plugin_namespace) == (operator, "1", "clasp")


@pytest.mark.parametrize("operator", OPERATORS)
def test_types_and_shapes_are_the_contract_s(create: Callable[[str], Any], operator: str) -> None:
    plugin = create(operator)
    inputs, outputs = TYPES[operator]
    taken, given = SHAPES[operator]
    assert plugin.num_outputs == len(outputs)
    assert plugin.get_output_data_types(inputs) == outputs
    shapes = plugin.get_output_shapes([dims(*shape) for shape in taken], [], fake_trt.ExprBuilder())
    assert [tuple(fake_trt.sizes(shape)) for shape in shapes] == given
    assert plugin.get_workspace_size([], []) == 512


@pytest.mark.parametrize("operator", OPERATORS)
def test_inputs_of_another_type_or_shape_are_refused(create: Callable[[str], Any], operator: str) -> None:
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
def test_only_the_contract_s_types_in_linear_order_are_taken(create: Callable[[str], Any], operator: str) -> None:
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


def test_building_asks_nothing_of_the_driver(driver: NullDriver, create: Callable[[str], Any]) -> None:
    plugin = create(SPHERICAL_KMEANS.name)
    plugin.configure_plugin([], [])
    plugin.clone().get_fields_to_serialize()
    plugin.destroy()
    assert plugin.get_valid_tactics() == []
    assert driver.log == []


def test_each_context_has_a_launcher_of_its_own(driver: NullDriver, create: Callable[[str], Any]) -> None:
    plugin = create(PIVOT_SELECT.name)
    one, two = plugin.attach_to_context(None), plugin.attach_to_context(None)
    assert plugin.launcher is None
    assert sum(line.startswith("cuLibraryLoadData") for line in driver.log) == 2
    clone = one.clone()
    assert clone.launcher is None, "a clone is not attached"
    one.destroy()
    driver.log.clear()
    two.on_shape_change([], [])
    two.enqueue([], [], [1, 2], [3], 0, 7)
    assert [line.split()[0] for line in driver.log] == ["cuLaunchKernel"] * 3, "nothing but launches"
    two.destroy()
    assert driver.log[-1] == "cuLibraryUnload 2"


def test_a_builder_that_times_plugins_needs_no_context(driver: NullDriver, create: Callable[[str], Any]) -> None:
    plugin = create(PIVOT_SELECT.name)
    plugin.set_tactic(0)
    plugin.on_shape_change([], [])
    plugin.on_shape_change([], [])
    plugin.enqueue([], [], [1, 2], [3], 0, 7)
    assert sum(line.startswith("cuLibraryLoadData") for line in driver.log) == 1


def test_running_before_anything_was_loaded_is_an_error(create: Callable[[str], Any]) -> None:
    with pytest.raises(RuntimeError, match="was not attached to a context"):
        create(PIVOT_SELECT.name).enqueue([], [], [1, 2], [3], 0, 7)
