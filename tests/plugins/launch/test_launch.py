"""Launch plans are consistent at every shape they accept, and refuse the others in one line."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clasp_trt.plugins import launch
from clasp_trt.plugins.launch import Int32, LaunchError, Plan, Tensor, Workspace

LARGEST_GRID = 2**31 - 1
SHARED_BYTES = 48 << 10  # what a launch may take without asking the driver for more


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    batch, tokens = draw(st.integers(1, 8)), draw(st.integers(1, 4096))
    keep = draw(st.integers(1, tokens + 1))
    return draw(
        st.sampled_from(
            [
                launch.pivot_select(batch, tokens, keep),
                launch.spherical_kmeans(batch, tokens, keep, draw(st.integers(1, 6))),
            ]
        )
    )


@settings(max_examples=200, deadline=None)
@given(plan=plans())
def test_launches_are_legal_on_every_device(plan: Plan) -> None:
    for each in plan.launches:
        assert 1 <= each.grid[0] <= LARGEST_GRID
        assert each.grid[1:] == each.block[1:] == (1, 1)
        assert each.block[0] in range(32, 1025, 32)
        assert 0 <= each.shared_bytes <= SHARED_BYTES
        assert all(argument.value in range(2**31) for argument in each.arguments if isinstance(argument, Int32))


@settings(max_examples=200, deadline=None)
@given(plan=plans())
def test_arguments_name_what_the_plan_has(plan: Plan) -> None:
    arguments = [argument for each in plan.launches for argument in each.arguments]
    named = {a.name for a in arguments if isinstance(a, Tensor)}
    assert named <= {spec.name for spec in plan.tensors}
    assert named >= {spec.name for spec in plan.tensors if spec.is_output}
    offsets = {a.offset for a in arguments if isinstance(a, Workspace)}
    assert all(offset % launch.ALIGNMENT == 0 and offset < plan.workspace_bytes for offset in offsets)
    flags = [spec.is_output for spec in plan.tensors]
    assert flags == sorted(flags), "inputs first"
    assert any(flags)


def test_blocks_and_bytes_of_a_plan() -> None:
    """Two rows of 2880 tokens, 320 kept: 90 tiles of 32 tokens, 2 planes of sums, 5 chunks of clusters."""
    plan = launch.spherical_kmeans(2, 2880, 320)
    assert {each.kernel: (each.grid[0], each.shared_bytes) for each in plan.launches} == {
        "clasp_redundancy": (2 * 90, 0),
        "clasp_seed_rank": (2 * 90, 4 * 2880),
        "clasp_assign_to_seeds": (2 * 90, 4 * 320),
        "clasp_assign": (2 * 90, 4 * 320),
        "clasp_update": (2 * 90 * 2 * 5, 0),
        "clasp_medoids": (2, 8 * 320 + 2880),
    }
    assert [each.kernel for each in plan.launches].count("clasp_update") == 5
    assert plan.workspace_bytes == 3 * (4 * 2 * 2880) + 256 + 2 * (8 * 2 * 320) + 4 * 2 * 2 * 320 * 2880
    assert [each.grid[0] for each in launch.pivot_select(2, 33, 9).launches] == [4]
    (everything,) = launch.spherical_kmeans(2, 600, 600).launches
    assert (everything.kernel, everything.grid[0]) == ("clasp_keep_all", 2)


def test_plans_depend_on_their_arguments_alone() -> None:
    assert launch.spherical_kmeans(2, 576, 192) == launch.spherical_kmeans(2, 576, 192)
    assert hash(launch.pivot_select(1, 9, 8)) == hash(launch.pivot_select(1, 9, 8))


def test_bound_arguments_are_c_values_in_order() -> None:
    each = launch.Launch("k", (1, 1, 1), (32, 1, 1), 0, (Tensor("x"), Workspace(256), Int32(-7)))
    x, workspace, number = each.bind({"x": 1 << 40, "unused": 1}, workspace=1 << 41)
    assert (type(x), x.value) == (ctypes.c_void_p, 1 << 40)
    assert (type(workspace), workspace.value) == (ctypes.c_void_p, (1 << 41) + 256)
    assert (type(number), number.value) == (ctypes.c_int, -7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: launch.pivot_select(1, 4097, 9), "at most 4096 tokens"),
        (lambda: launch.pivot_select(1, 9, 0), "at least 1 of each"),
        (lambda: launch.spherical_kmeans(0, 9, 9), "at least 1 of each"),
        (lambda: launch.spherical_kmeans(1, 9, 3, 0), "iterations is 0"),
    ],
)
def test_shapes_that_no_kernel_covers_are_refused(make: Callable[[], Plan], message: str) -> None:
    with pytest.raises(LaunchError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
