"""What TensorRT calls back while it builds: a monitor of progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Phases:
    """Nested phases of a build as one fraction."""

    def __init__(self) -> None:
        self._phases: dict[str, tuple[str | None, int, int]] = {}  # parent, steps done, steps in all
        self._highest = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        self._phases[name] = (parent, 0, max(1, steps))

    def step(self, name: str, step: int) -> None:
        if name in self._phases:
            parent, _, steps = self._phases[name]
            self._phases[name] = (parent, min(step + 1, steps), steps)

    def finish(self, name: str) -> None:
        self._phases.pop(name, None)

    @property
    def fraction(self) -> float:
        """How much of the build is done, 0 to 1; never less than it has been."""
        roots = [name for name, (parent, _, _) in self._phases.items() if parent is None]
        if roots:
            self._highest = max(self._highest, self._part(roots[-1]))
        return self._highest

    def _part(self, name: str) -> float:
        _, done, steps = self._phases[name]
        inside = [self._part(child) for child, (parent, _, _) in self._phases.items() if parent == name]
        return min(1.0, (done + (inside[-1] if inside else 0.0)) / steps)


def monitor(trt: Any, go_on: Callable[[float], bool]) -> Any:
    """An ``IProgressMonitor`` that tells ``go_on`` the part that is done, 0 to 1; False from it cancels the build."""
    phases = Phases()

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the module has no types
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)  # TensorRT wants its own initialiser, not super()'s

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            return go_on(phases.fraction)

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
