"""What only some installs have: the package's extras, and one line that names the one to install."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from clasp_trt.errors import BackendError
from clasp_trt.shortage import is_shortage, shortage


def remedy(*extras: str) -> str:
    """The command that installs ``extras``."""
    return f"pip install 'clasp-trt[{','.join(extras)}]'"


@contextmanager
def needing(work: str, *extras: str) -> Iterator[None]:
    """A package of ``extras`` that ``work`` imports and that is not installed, or does not load, becomes one line.

    Raises :class:`BackendError` for an :class:`ImportError` of the body.
    """
    try:
        yield
    except ImportError as error:
        if is_shortage(error):
            raise shortage(f"for {work}", error) from error
        missing = error.name or error
        raise BackendError(f"{work} needs {missing}, which cannot be imported here; {remedy(*extras)}") from error


def require(work: str, modules: Iterable[str], *extras: str) -> None:
    """Refuses ``work`` where one of ``modules`` is not installed; imports none of them.

    Raises :class:`BackendError` that names all that are missing, and what brings them.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        what = "which is not installed" if len(missing) == 1 else "which are not installed"
        raise BackendError(f"{work} needs {', '.join(missing)}, {what}; {remedy(*extras)}")
