"""What is asked: a file of questions, and the category under which each is answered and counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from clasp_trt.errors import DataError
from clasp_trt.policy import Policy
from clasp_trt.storage.hashes import file_sha256
from clasp_trt.tools.evaluate import dataset
from clasp_trt.tools.evaluate.dataset import Row


@dataclass(frozen=True)
class Questions:
    """Rows, the ``name`` by which errors call their file, and the SHA-256 of its bytes."""

    rows: tuple[Row, ...]
    name: str
    sha256: str

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, limit: int | None = None, answered: bool = True) -> Questions:
        """The first ``limit`` rows of a file (None: all); the whole file is checked. Raises :class:`DataError`."""
        rows = dataset.read(path, answered=answered)
        return cls(rows[:limit], os.fspath(path), file_sha256(path))

    @cached_property
    def by_line(self) -> Mapping[int, Row]:
        """Rows by their line."""
        return {row.line: row for row in self.rows}

    def place(self, row: Row) -> str:
        """``file:line`` of a row."""
        return f"{self.name}:{row.line}"


@dataclass(frozen=True)
class Question:
    """A row, the category that its answer is ``counted`` under, and the one whose policy is ``requested``.

    ``routed`` is what the router says where it was to be asked, else None.
    """

    row: Row
    counted: str
    requested: str
    routed: str | None


def check_categories(questions: Questions, policy: Policy) -> None:
    """Raises :class:`DataError` for the first row whose category the policy does not have."""
    names = [category.name for category in policy.categories]
    for row in questions.rows:
        if row.category is not None and row.category not in names:
            raise DataError(
                f"{questions.place(row)}: category {row.category!r} is not in the policy; "
                f"expected one of: {', '.join(names)}"
            )


def assign(questions: Questions, router: Callable[[str], str], *, route: bool) -> tuple[Question, ...]:
    """Gives each row its categories.

    ``router`` maps a prompt to a category. A row's own category counts; without one, or for the answer with
    ``route``, the router decides.
    """
    assigned = []
    for row in questions.rows:
        routed = router(row.prompt) if route or row.category is None else None
        counted = row.category or routed
        requested = routed or row.category
        assert counted is not None
        assert requested is not None
        assigned.append(Question(row, counted, requested, routed))
    return tuple(assigned)
