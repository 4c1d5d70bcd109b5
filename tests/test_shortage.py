"""Memory that is short: told apart from other errors, with what was needed."""

from __future__ import annotations

import numpy as np
import pytest

from clasp_trt.errors import BackendError, ShortageError
from clasp_trt.shortage import gigabytes, is_shortage, memory_for, shortage
from tests.mistakes import says


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 4096"),
        ImportError("libx.so: failed to map segment from shared object"),
        ImportError("libx.so: cannot allocate memory in static TLS block"),
        RuntimeError("can't start new thread"),
    ],
    ids=str,
)
def test_what_libraries_say_of_it(error: Exception) -> None:
    assert is_shortage(error)


@pytest.mark.parametrize("error", [ImportError("No module named 'x'"), RuntimeError("Invalid graph"), ValueError()])
def test_other_errors_are_others(error: Exception) -> None:
    assert not is_shortage(error)


def test_numpy_says_how_much_it_asked_for() -> None:
    with pytest.raises(ShortageError) as error, memory_for("to try"):
        np.zeros(2**59)
    says(error, "to try", "4.00 EiB")


def test_what_is_needed_is_said_instead() -> None:
    with pytest.raises(ShortageError) as error, memory_for("for caches", 3 * 10**9):
        raise MemoryError
    says(error, "for caches", "3 GB")
    with pytest.raises(ShortageError) as error, memory_for("for caches", 3 * 10**9):
        raise shortage("for one of them", needed=10**9)
    says(error, "for caches", "3 GB")


def test_what_was_told_is_not_told_again() -> None:
    with pytest.raises(ShortageError) as error, memory_for("to load"):
        raise shortage("for one", needed=10**9)
    says(error, "for one", "1 GB")


def test_other_errors_pass() -> None:
    with pytest.raises(BackendError) as error, memory_for("to load", 1):
        raise BackendError("refused")
    assert type(error.value) is BackendError


@pytest.mark.parametrize(
    ("count", "text"), [(10, "1e-08 GB"), (34_000_000, "0.034 GB"), (12_300_000_000, "12 GB"), (10**13, "10,000 GB")]
)
def test_sizes(count: int, text: str) -> None:
    assert gigabytes(count) == text


def test_a_line_of_a_library_is_one_line_here() -> None:
    assert "\n" not in str(shortage("to run", RuntimeError("bad_alloc\n\x1b[31mmore" * 100)))
    assert len(str(shortage("to run", RuntimeError("x" * 10**6)))) < 500
