"""What is missing is one line that names the package and the extra that brings it."""

from __future__ import annotations

import ast
import re

import pytest

from clasp_trt.errors import BackendError
from clasp_trt.extras import needing, remedy, require
from tests.house import PYPROJECT, ROOT


def test_an_import_that_fails_is_one_line() -> None:
    with pytest.raises(BackendError) as caught, needing("flying", "export"):
        import no_such_package  # noqa: F401
    assert str(caught.value) == (
        "flying needs no_such_package, which cannot be imported here; pip install 'clasp-trt[export]'"
    )


def test_an_import_without_a_name_is_told_by_its_reason() -> None:
    with pytest.raises(BackendError) as caught, needing("flying", "export"):
        raise ImportError("libwing.so: cannot open")
    assert str(caught.value).startswith("flying needs libwing.so: cannot open, which cannot be imported here; ")


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(ZeroDivisionError), needing("flying", "export"):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("modules", "line"),
    [
        (("json", "no_wing"), "needs no_wing, which is not installed; pip install 'clasp-trt[export,profile]'"),
        (("no_wing", "no_tail"), "needs no_wing, no_tail, which are not installed; pip install"),
    ],
)
def test_modules_that_are_missing_are_named_together(modules: tuple[str, ...], line: str) -> None:
    require("flying", ("json", "re"), "export")
    with pytest.raises(BackendError, match=re.escape(line)):
        require("flying", modules, "export", "profile")


FIRST_EXTRA = {"needing": 1, "require": 2, "remedy": 0}
"""Which argument of each function is the first name of an extra."""


def test_extras_that_are_named_are_extras_of_the_package() -> None:
    assert remedy("export", "build") == "pip install 'clasp-trt[export,build]'"
    named = set()
    for path in (path for folder in ("clasp_trt", "engines") for path in (ROOT / folder).rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id in FIRST_EXTRA:
                extras = call.args[FIRST_EXTRA[call.func.id] :]
                named |= {extra.value for extra in extras if isinstance(extra, ast.Constant)}
    assert named == {"build", "export", "profile", "serve"}
    assert named <= set(PYPROJECT["project"]["optional-dependencies"])
