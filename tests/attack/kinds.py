"""What is thrown at the product: a kind is a module with an ``Attack``, its number of tries, and their bounds."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MINUTES = 10
"""For which the numbers of tries below are meant."""


class Attack(Protocol):
    """Made once for each child process, with the folder of :mod:`tests.attack.material`."""

    def __init__(self, material: Path) -> None: ...

    def __call__(self, draw: random.Random) -> str | None:
        """One try, all of whose choices are ``draw``'s: None if it held, or what failed. Whatever it raises failed."""


@dataclass(frozen=True)
class Kind:
    """``tries`` in ten minutes, of which it takes no more than its ``share``; a try that takes longer than ``bound_s``
    hangs. The child's address space ends at ``memory_gb``."""

    name: str
    module: str
    tries: int
    share: float
    bound_s: float
    memory_gb: float = 12.0


KINDS = (
    Kind("bundles", "tests.attack.bundles", 1000, 0.4, 30),
    Kind("prompts", "tests.attack.prompts", 10_000, 0.2, 20),
    Kind("pictures", "tests.attack.pictures", 1000, 0.15, 20),
    Kind("kills", "tests.attack.kills", 100, 0.25, 60),
)
