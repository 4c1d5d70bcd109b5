"""An attack that finds what was planted: the file ``fault`` of its material says what every other try does."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

GROWTH = 20 << 20
"""Bytes of each try that leaks."""


class Attack:
    """See :class:`tests.attack.kinds.Attack`."""

    def __init__(self, material: Path) -> None:
        self._fault = (material / "fault").read_text()
        self._kept: list[bytes] = []

    def __call__(self, draw: random.Random) -> str | None:
        if self._fault == "leak":
            self._kept.append(draw.randbytes(GROWTH))
            return None
        if draw.random() < 0.5 or self._fault == "none":
            return None
        if self._fault == "raise":
            raise KeyError("a foreign error")
        if self._fault == "interrupt":
            raise KeyboardInterrupt
        if self._fault == "abort":
            os.abort()
        if self._fault == "exit":
            os._exit(3)
        if self._fault == "hang":
            time.sleep(600)
        return "wrong"
