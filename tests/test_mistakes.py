"""The facts that a message names are found, and those that it does not name are missed."""

from __future__ import annotations

import pytest

from tests.mistakes import says

LINE = "--budget: 17 is more than the 16 visual tokens of a/b.json (SM 8.7)"


def test_facts_are_found_wherever_they_stand() -> None:
    says(LINE, "--budget", 17, 16, "a/b.json", "SM 8.7", "visual tokens")
    with pytest.raises(ValueError, match="--budget") as error:
        raise ValueError(LINE)
    says(error, 17)


@pytest.mark.parametrize("fact", [1, 7, 8, 170, "budge", "token", "--sm", "a/b.js"])
def test_what_is_a_part_of_something_else_is_not_named(fact: object) -> None:
    with pytest.raises(AssertionError, match="not named in"):
        says(LINE, fact)
