"""A program and its fields say the same thing, and fields that say nothing are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.plugins import FixedProgram, Image
from clasp_trt.plugins.fields import field_names
from clasp_trt.plugins.launch import Int32, Launch, Plan, Tensor, Workspace
from clasp_trt.plugins.program import read, tensors
from tests.plugins.programs import OPERATORS, program, varying_program

WORKSPACE = 2**31 - 1
SIZES = st.tuples(*[st.integers(1, 2**31 - 1)] * 3)


@st.composite
def programs(draw: st.DrawFn) -> FixedProgram:
    operator = draw(st.sampled_from([PIVOT_SELECT, SPHERICAL_KMEANS]))
    tokens = draw(st.integers(1, 4096))
    keep, batch = draw(st.integers(1, tokens)), draw(st.integers(1, 8))
    bound = tensors(operator, batch, tokens, keep)
    arguments = st.one_of(
        st.sampled_from([Tensor(spec.name) for spec in bound]),
        st.builds(Workspace, st.integers(0, WORKSPACE - 1)),
        st.builds(Int32, st.integers(-(2**31) + 1, 2**31 - 1)),
    )
    names = st.from_regex(r"\A[a-z_][a-z0-9_]{0,20}\Z")
    shared = st.integers(0, 227 * 1024)
    launches = st.builds(Launch, names, SIZES, SIZES, shared, st.lists(arguments, max_size=12).map(tuple))
    plan = Plan(bound, WORKSPACE, tuple(draw(st.lists(launches, min_size=1, max_size=6))))
    sms = draw(st.lists(st.sampled_from(["8.0", "8.7", "9.0", "12.1"]), min_size=1, unique=True))
    images = tuple(Image(sm, draw(st.binary(min_size=1, max_size=50))) for sm in sms)
    iterations = draw(st.integers(1, 9)) if operator is SPHERICAL_KMEANS else 0
    return FixedProgram(operator.name, keep, iterations, plan, draw(st.integers(12, 13)), images)


@given(programs())
def test_fields_say_all(made: FixedProgram) -> None:
    fields = made.fields()
    assert tuple(fields) == field_names(made.contract)
    assert {array.dtype for array in fields.values()} == {np.dtype(np.int32), np.dtype(np.int8)}
    assert read(made.operator, fields) == made


def test_text_that_a_parser_has_ended_by_a_zero_reads_the_same() -> None:
    made = program(SPHERICAL_KMEANS.name)
    fields = {**made.fields(), "kernels": np.append(made.fields()["kernels"], np.int8(0))}
    assert read(made.operator, fields) == made


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_node_that_lacks_the_fields_is_told_from_a_broken_one(operator: str) -> None:
    with pytest.raises(ValueError, match="lacks the field shape: the graph was not made for plugins"):
        read(operator, {"keep": np.array([4], np.int32), "iterations": np.array([5], np.int32)})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("launches", lambda array: array[:-1]),
        ("launches", lambda array: np.append(array, np.int32(0))),
        ("launches", lambda array: np.where(np.arange(len(array)) == 0, 7, array).astype(np.int32)),  # no such kernel
        ("launches", lambda array: np.where(np.arange(len(array)) == 9, -1, array).astype(np.int32)),  # no such kind
        ("launches", lambda array: array[:0]),
        ("cubins", lambda array: array[:-1]),
        ("sms", lambda array: array[:0]),
        ("sizes", lambda array: -array),
        ("shape", lambda array: array[:1]),
        ("keep", lambda array: np.repeat(array, 2)),
        ("keep", lambda array: array.astype(np.float32)),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(name: str, change: Callable[[Any], Any]) -> None:
    fields = dict(program(SPHERICAL_KMEANS.name).fields())
    fields[name] = change(fields[name])
    with pytest.raises(ValueError, match="ClaspSphericalKMeans"):
        read(SPHERICAL_KMEANS.name, fields)


GOOD = program(SPHERICAL_KMEANS.name)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"operator": "ClaspOther"}, "there is no plugin ClaspOther"),
        ({"operator": PIVOT_SELECT.name}, "cannot run 5 iterations"),
        ({"operator": PIVOT_SELECT.name, "iterations": 0}, "other tensors than its contract names"),
        ({"iterations": 0}, "cannot run 0 iterations"),
        ({"keep": 17}, "cannot keep 17 of 1 x 16 tokens"),
        ({"keep": 0}, "cannot keep 0"),
        ({"keep": 5}, "other tensors than its contract names"),
        ({"images": ()}, "has no cubin"),
        ({"plan": replace(GOOD.plan, launches=())}, "nothing to launch"),
        ({"plan": replace(GOOD.plan, workspace_bytes=200)}, "reads byte 256 of a workspace of 200"),
        (
            {"plan": replace(GOOD.plan, launches=(Launch("k_1", (1, 1, 1), (1, 1, 1), 0, (Tensor("saliency"),)),))},
            "k_1 reads saliency, which ClaspSphericalKMeans does not have",
        ),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        replace(GOOD, **change)


def test_a_number_beyond_32_bits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2147483648.*32 bits"):
        replace(GOOD, plan=replace(GOOD.plan, workspace_bytes=2**31)).fields()


@pytest.mark.parametrize("operator", OPERATORS)
def test_fields_say_all_of_a_recipe(operator: str) -> None:
    made = varying_program(operator, sms=("8.9", "12.0"))
    fields = made.fields()
    assert tuple(fields) == field_names(made.contract)
    assert "keep" not in fields
    assert read(operator, fields) == made


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rows", lambda array: array[:-1]),
        ("rows", lambda array: array[:-3]),  # a launch reads it
        ("rows", lambda array: array[:0]),
        ("rows", lambda array: np.append(array, np.array([6, 0, 0], np.int32))),  # no such rule
        ("rows", lambda array: np.append(array, np.array([2, len(array) // 3, 0], np.int32))),  # of itself
        ("rows", lambda array: np.append(array, np.array([1, 2, 0], np.int32))),  # no such size
        ("workspace", lambda array: array + 1000),
        ("launches", lambda array: array[:-1]),
        ("shape", lambda array: array * 0),
    ],
)
def test_recipes_that_do_not_fit_together_are_refused(name: str, change: Callable[[Any], Any]) -> None:
    fields = dict(varying_program(SPHERICAL_KMEANS.name).fields())
    fields[name] = change(fields[name])
    with pytest.raises(ValueError, match="ClaspSphericalKMeans"):
        read(SPHERICAL_KMEANS.name, fields)


@pytest.mark.parametrize(("tokens", "keep"), [(4097, 9), (16, 17), (16, 0), (0, 0)])
def test_numbers_that_no_request_has_are_refused(tokens: int, keep: int) -> None:
    with pytest.raises(ValueError, match=rf"1 to 4096 tokens, not {keep} of {tokens}"):
        varying_program(PIVOT_SELECT.name).at(tokens, keep)


def test_a_program_of_one_shape_refuses_others() -> None:
    made = program(PIVOT_SELECT.name)
    assert made.at(16, 4) is made.plan
    with pytest.raises(ValueError, match="keeps 4 of 16 tokens, not 4 of 17"):
        made.at(17, 4)
