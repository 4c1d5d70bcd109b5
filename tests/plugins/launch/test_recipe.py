"""Recipes: their arithmetic, what they refuse, and that the workspace for the most holds that of every other shape."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clasp_trt.plugins import launch
from clasp_trt.plugins.launch import ALIGNMENT, Int32, Launch, Tensor, Workspace
from clasp_trt.plugins.launch.recipe import Recipe, Rule, Sheet

COUNT = st.integers(1, 1 << 12)


@given(tokens=COUNT, keep=COUNT, size=st.integers(1, 100))
def test_formulas_are_the_arithmetic_of_integers(tokens: int, keep: int, size: int) -> None:
    sheet = Sheet()
    values = (
        sheet.tokens + sheet.keep,
        3 * sheet.tokens * sheet.keep,
        (sheet.tokens + size).over(size),
        sheet.keep.below(sheet.tokens),
        sheet.number(7),
    )
    sheet.launch("k", sheet.number(1), 32, 0, tuple(map(sheet.int32, values)))
    _, (made,) = sheet.recipe().at(tokens, keep)
    quotient = -(-(tokens + size) // size)
    assert made.arguments == tuple(map(Int32, (tokens + keep, 3 * tokens * keep, quotient, int(keep < tokens), 7)))


def test_parts_of_a_workspace_follow_each_other() -> None:
    sheet = Sheet()
    parts = [sheet.take(size) for size in (sheet.tokens, sheet.number(ALIGNMENT), 4 * sheet.keep, sheet.tokens)]
    sheet.launch("k", sheet.tokens, 32, 4 * sheet.keep, (Tensor("x"), *parts))
    workspace, (made,) = sheet.recipe().at(ALIGNMENT + 1, 3)
    assert made == Launch(
        "k", (257, 1, 1), (32, 1, 1), 12, (Tensor("x"), Workspace(0), Workspace(512), Workspace(768), Workspace(1024))
    )
    assert workspace == 1536


def test_a_launch_over_no_blocks_is_none() -> None:
    sheet = Sheet()
    sheet.launch("some", sheet.keep.below(sheet.tokens), 32, 0, ())
    sheet.launch("all", sheet.tokens.below(sheet.keep + 1), 32, 0, ())
    recipe = sheet.recipe()
    assert [each.kernel for each in recipe.at(9, 3)[1]] == ["some"]
    assert [each.kernel for each in recipe.at(9, 9)[1]] == ["all"]


def test_equal_numbers_stand_once() -> None:
    sheet = Sheet()
    assert (4 * sheet.tokens).row == (sheet.tokens * 4).row
    assert len(launch.spherical_kmeans_recipe(1).rows) < 60


@pytest.mark.parametrize(
    ("rows", "workspace"),
    [
        (((Rule.SUM, 0, 0),), 0),  # of itself
        (((Rule.SIZE, 2, 0),), 0),
        (((Rule.CONSTANT, -1, 0),), 0),
        (((Rule.CONSTANT, 1, 0), (Rule.PRODUCT, 0, 1)), 0),
        (((6, 0, 0),), 0),
        (((Rule.CONSTANT, 1, 0),), 1),
        ((), 0),
    ],
)
def test_what_refers_to_nothing_is_refused(rows: tuple[tuple[int, int, int], ...], workspace: int) -> None:
    with pytest.raises(ValueError, match=r"row|Rule"):
        Recipe(rows, workspace, ())


@pytest.mark.parametrize("rule", [Rule.CEILING, Rule.PRODUCT])
def test_numbers_that_no_launch_takes_are_refused(rule: Rule) -> None:
    big = (Rule.CONSTANT, 2**31 - 2, 0) if rule == Rule.PRODUCT else (Rule.CONSTANT, 0, 0)
    with pytest.raises(ValueError, match="3 of 9 tokens"):
        Recipe(((Rule.SIZE, 0, 0), big, (rule, 0, 1)), 0, ()).at(9, 3)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), tokens=st.integers(1, launch.MAX_TOKENS), most=st.integers(1, launch.MAX_TOKENS))
def test_the_workspace_of_the_most_holds_that_of_every_shape_below(data: st.DataObject, tokens: int, most: int) -> None:
    tokens, most = sorted((tokens, most))
    keep, kept = sorted((data.draw(st.integers(1, tokens)), data.draw(st.integers(1, most))))
    recipe = launch.spherical_kmeans_recipe(1)
    assert launch.spherical_kmeans(1, tokens, min(keep, tokens)).workspace_bytes <= recipe.at(most, kept)[0] < 2**31
