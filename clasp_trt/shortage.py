"""A shortage of memory, told apart from damage: one line with what was needed, whoever noticed it first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clasp_trt.brief import shown
from clasp_trt.errors import ShortageError

# What the C++ library, ONNX Runtime, the dynamic loader, Python and numpy call it.
_WORDS = (
    *("bad_alloc", "bad allocation", "failed to allocate memory", "unable to allocate", "cannot allocate memory"),
    *("failed to map segment", "can't start new thread", "resource temporarily unavailable"),
)
_MOST = 200


def is_shortage(error: BaseException) -> bool:
    """Whether an error of a library is for want of memory, whatever its class."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _WORDS)


def shortage(work: str, error: BaseException | None = None, needed: int | None = None) -> ShortageError:
    """What to raise when memory is short ``work``, such as "to load vision.onnx": with the ``needed`` bytes, or else in
    the words of ``error``."""
    said = " ".join(str(error).split())[:_MOST] if error is not None else ""
    need = f"about {gigabytes(needed)} are needed" if needed is not None else shown(said)
    return ShortageError(
        f"not enough memory {work}{f': {need}' if need else ''}; close other programs, raise the limit (ulimit -v), or"
        " take a smaller model, picture or --max-context"
    )


@contextmanager
def memory_for(work: str, needed: int | None = None) -> Iterator[None]:
    """A shortage within the block becomes :class:`~clasp_trt.errors.ShortageError` about ``work``: any with ``needed``
    bytes, otherwise what nobody has told yet."""
    try:
        yield
    except MemoryError as error:
        raise shortage(work, error, needed) from error
    except ShortageError as error:
        if needed is None:
            raise
        raise shortage(work, error, needed) from error


def gigabytes(count: int) -> str:
    """A number of bytes, to two digits."""
    return f"{count / 1e9:.2g} GB" if count < 1e11 else f"{count / 1e9:,.0f} GB"
