"""What a user should hear although nothing is refused: one line, as a warning of Python's.

The command line shows it as such; a program that calls the functions may filter it, or make it an error.
"""

from __future__ import annotations

import warnings


class Notice(UserWarning):
    """Two sources that disagree, and which of them counts."""


def tell(line: str) -> None:
    """Warns with ``line``, which names both sources and the one that is read."""
    warnings.warn(Notice(" ".join(line.split())), stacklevel=2)
