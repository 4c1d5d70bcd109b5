"""What a test starts has an environment of its own: nothing of the make, pytest or coverage that runs the test."""

from __future__ import annotations

import os

RUNNERS = ("COV_", "COVERAGE_", "GNUMAKEFLAGS", "MAKE", "MFLAGS", "PYTEST_")
"""How the variables begin by which a program speaks to what it runs in turn."""


def own_environment(**changes: str) -> dict[str, str]:
    """The variables of this process without those of ``RUNNERS``, and with ``changes``."""
    return {name: value for name, value in os.environ.items() if not name.startswith(RUNNERS)} | changes
