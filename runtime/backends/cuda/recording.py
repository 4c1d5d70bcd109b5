"""A step as one CUDA graph: recorded when it first comes, replayed at the same addresses ever after.

A step that is new first runs as it is: this settles in each engine's context what depends on shapes, as TensorRT
demands before a capture, and says which blocks the step takes. Then it is recorded, on those very blocks. So nothing is
allocated while it is recorded, and its results lie where those of the first run lie.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends.cuda.driver import Driver
from clasp_trt.runtime.backends.cuda.memory import Block, Pool

T = TypeVar("T")


class Capturable(Protocol):
    """What takes part in a step, and knows whether it may be recorded."""

    def capturable(self) -> bool: ...


@dataclass(frozen=True)
class _Recording:
    """A step: ``graph`` to launch, its ``result``, and the blocks that it writes to, which nobody else may have."""

    graph: Any
    result: Any
    blocks: tuple[Block, ...]


class Recordings:
    """All steps recorded so far, by key.

    ``lane`` is the key of the step that is being recorded or rehearsed, None outside: whoever takes part keeps a
    context of its own for each lane, since a recorded one must not change. ``enabled`` is False where steps just run.
    """

    def __init__(self, driver: Driver, pool: Pool) -> None:
        self._driver, self._pool = driver, pool
        self._steps: dict[Hashable, _Recording] = {}
        self._blocks: list[Block] = []
        self._again: Iterator[Block] | None = None
        self._parts: list[Capturable] = []
        self.lane: Hashable | None = None
        self.enabled = True

    @property
    def recording(self) -> bool:
        """Whether work is recorded now, and not done."""
        return self._again is not None

    def __len__(self) -> int:
        return len(self._steps)

    def take(self, size: int) -> Block:
        """A block for a result; in a lane, one that the lane keeps."""
        if self.lane is None:
            return self._pool.take(size)
        if self._again is not None:
            return next(self._again)
        self._blocks.append(self._pool.fresh(size))
        return self._blocks[-1]

    def takes_part(self, part: Capturable) -> None:
        """Says that ``part`` has work in what runs now."""
        if self.lane is not None:
            self._parts.append(part)

    def run(self, key: Hashable, step: Callable[[], T]) -> T:
        """Does ``step``, which must do the same work on the same tensors whenever ``key`` is the same, and nothing on
        the host. What it returns the first time is what it returns always, with new contents."""
        if not self.enabled:
            return step()
        known = self._steps.get(key)
        if known is not None:
            self._driver.launch(known.graph)
            result: T = known.result
            return result
        self.lane = key
        try:
            result = step()
            if graph := self._record(step):
                self._steps[key] = _Recording(graph, result, tuple(self._blocks))
            return result
        finally:
            self.lane = None
            self._blocks, self._parts = [], []

    def close(self) -> None:
        """Lets all recordings go."""
        for each in self._steps.values():
            self._driver.drop(each.graph)
        self._steps.clear()

    def _record(self, step: Callable[[], object]) -> Any:
        """The graph of ``step``; None if it cannot be recorded: that is said once, and from then on steps just run."""
        try:
            if not all(part.capturable() for part in self._parts):
                raise BackendError("the library says that an engine allocates while it runs")
            self._driver.begin_capture()
            self._again = iter(self._blocks)
            try:
                step()
            except BaseException:
                with suppress(BackendError):  # what broke the step may have broken the capture
                    self._driver.drop(self._driver.end_capture())
                raise
            return self._driver.end_capture()
        except BackendError as error:
            self.enabled = False
            warnings.warn(f"decode steps run engine by engine, not as one CUDA graph: {error}", stacklevel=2)
            return None
        finally:
            self._again = None
