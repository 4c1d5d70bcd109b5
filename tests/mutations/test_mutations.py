"""The table of faults fits the tree, and the tool tells a fault that is noticed from one that is not."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest

from tests.house import ROOT
from tests.mutations import __main__ as command
from tests.mutations.bounds import BOUNDS
from tests.mutations.grids import GRIDS
from tests.mutations.numbers import NUMBERS
from tests.mutations.recipes import RECIPES
from tests.mutations.rounding import ROUNDING
from tests.mutations.slots import SLOTS
from tests.mutations.table import MUTATIONS, Mutation
from tests.test_docs import shell_lines


@pytest.mark.parametrize(
    "mutation", [*MUTATIONS, *BOUNDS, *GRIDS, *NUMBERS, *RECIPES, *ROUNDING, *SLOTS], ids=lambda each: each.name
)
def test_a_fault_can_still_be_made(mutation: Mutation) -> None:
    """The code is as the table knows it, what it becomes is code, and the tests are of that room."""
    changed = command.mutated(mutation, (ROOT / mutation.file).read_text())
    compile(changed, mutation.file, "exec")
    assert mutation.old != mutation.new
    room = Path(mutation.file.removeprefix("clasp_trt/")).parent
    for tests in mutation.tests:
        assert (ROOT / tests).exists()
        assert Path(tests).is_relative_to("tests" / room)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of two files."""
    (tmp_path / "doubling.py").write_text("def double(x):\n    return x + x\n")
    (tmp_path / "test_code.py").write_text(
        "from doubling import double\n\ndef test_double():\n    assert double(2) == 4\n"
    )
    return tmp_path


def test_a_copy_has_every_file_of_the_table(tmp_path: Path) -> None:
    tree = command.copied(tmp_path / "tree")
    for each in (*MUTATIONS, *BOUNDS, *GRIDS, *NUMBERS, *RECIPES, *ROUNDING, *SLOTS):
        assert (tree / each.file).read_text() == (ROOT / each.file).read_text()
        assert all((tree / tests).exists() for tests in each.tests)
    assert (tree / "clasp_trt" / "runtime").is_symlink()


FAULT = Mutation("wrong", "doubling.py", "x + x", "x + x + 1", ("test_code.py",))


@pytest.mark.full
@pytest.mark.parametrize(
    ("new", "what"), [("x + x + 1", "noticed"), ("x * x", "survived"), ("x + y", "noticed"), ("x +", "broken")]
)
def test_what_becomes_of_a_fault(tree: Path, new: str, what: str) -> None:
    before = (tree / "doubling.py").read_text()
    assert command.tried(dataclasses.replace(FAULT, new=new), tree, 30).what == what
    assert (tree / "doubling.py").read_text() == before


def test_tests_that_take_too_long_notice_nothing(tree: Path) -> None:
    (tree / "test_code.py").write_text("import time\n\ndef test_slow():\n    time.sleep(60)\n    assert False\n")
    assert command.tried(FAULT, tree, 0.5).what == "survived"


def test_code_that_has_moved_on(tree: Path) -> None:
    with pytest.raises(ValueError, match="0 times"):
        command.tried(dataclasses.replace(FAULT, old="x - x"), tree, 30)


def test_commands_that_are_shown_are_real() -> None:
    shown = [shlex.split(line, comments=True) for line in shell_lines((ROOT / "CONTRIBUTING.md").read_text())]
    lines = [words[3:] for words in shown if words[:3] == ["python", "-m", "tests.mutations"]]
    assert lines
    for words in lines:
        command.parsed(words)
