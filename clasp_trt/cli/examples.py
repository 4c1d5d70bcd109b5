"""Lines to begin with, at the end of a command's ``--help``."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """The epilog of a command: ``lines`` of a shell as they are."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])  # \b: click does not wrap what follows
