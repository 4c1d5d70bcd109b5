"""A graph that is called as the manifest says, on whatever backend it was loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from clasp_trt.bundle import Graph
from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends.memory import Memory

CLOSED = "the backend was closed, and gave back its graphs and tensors; load the bundle again"

T = TypeVar("T")


class Runner(Protocol[T]):
    """One loaded graph."""

    def __call__(self, inputs: Mapping[str, T], into: Mapping[str, T]) -> dict[str, T]:
        """Runs the graph on ``inputs``; outputs named in ``into`` are written there, which may be an input of the
        same call; all others are new. Returns every output not in ``into``, perhaps before it is computed:
        :meth:`Memory.download` waits."""


@dataclass
class Calls:
    """What kind of call comes. A step differs from the one before in the contents of its tensors alone, so that it is
    checked if anything else ran since: looking at every tensor of every step would take a tenth of a small model's."""

    in_step: bool = False
    step_is_known: bool = False


class Checked(Generic[T]):
    """``run`` as a runner of ``graph`` that can rely on its inputs, and need not write into places itself: what it
    returns of an output that has a place is copied there."""

    def __init__(self, run: Runner[T], graph: Graph, memory: Memory[T], calls: Calls) -> None:
        self._run: Runner[T] | None = run
        self._graph, self._memory, self._calls = graph, memory, calls
        self._inputs = {port.name: (port.dtype, tuple(port.shape)) for port in graph.inputs}
        self._given = {port.name: (port.dtype, tuple(port.shape)) for port in graph.outputs}
        self._outputs = set(self._given)

    def __call__(self, inputs: Mapping[str, T], into: Mapping[str, T]) -> dict[str, T]:
        """See :class:`Runner`.

        Raises :class:`RuntimeError` for inputs or outputs that are not those of the graph, and :class:`BackendError`
        for outputs of another dtype or size than the manifest states, or once the backend is closed.
        """
        run = self._run
        if run is None:
            raise BackendError(CLOSED)
        calls = self._calls
        sizes: dict[str, int] | None = None
        if not (calls.in_step and calls.step_is_known):
            sizes = self._check(inputs, into)
            calls.step_is_known = False
        outputs = run(inputs, into)
        if outputs.keys() != self._outputs - into.keys():
            outputs = self._place(outputs, into)
        if sizes is not None:
            self._check_outputs(outputs, sizes)
        return outputs

    def end(self) -> None:
        """Lets the graph go."""
        self._run = None

    def _check(self, inputs: Mapping[str, T], into: Mapping[str, T]) -> dict[str, int]:
        """The ports of the graph are all there with their dtypes and sizes, and a dimension has one size in all; that
        of each symbolic one."""
        if inputs.keys() != self._inputs.keys() or not into.keys() <= self._outputs:
            raise RuntimeError(
                f"graph {self._graph.name} takes {sorted(self._inputs)} and gives {sorted(self._outputs)}, not "
                f"{sorted(inputs)} and {sorted(into)}"
            )
        sizes: dict[str, int] = {}
        spec = self._memory.spec
        for name, stated in self._inputs.items():
            found = spec(inputs[name])
            if found != stated and not _fits(found, stated, sizes):
                raise RuntimeError(
                    f"graph {self._graph.name}: {name} is {_shown(found)}, expected {_shown(stated)}"
                    + "".join(f" with {dim} = {size}" for dim, size in sizes.items() if dim in stated[1])
                )
        return sizes

    def _check_outputs(self, outputs: Mapping[str, T], sizes: dict[str, int]) -> None:
        """What the graph gave is what the manifest states, on which the next graph relies."""
        for name, value in outputs.items():
            found, stated = self._memory.spec(value), self._given[name]
            if found != stated and not _fits(found, stated, sizes):
                raise BackendError(
                    f"graph {self._graph.name} gave {name} as {_shown(found)}, but the manifest states"
                    f" {_shown(stated)}"
                    + "".join(f" with {dim} = {size}" for dim, size in sizes.items() if dim in stated[1])
                    + "; rebuild the bundle"
                )

    def _place(self, outputs: Mapping[str, T], into: Mapping[str, T]) -> dict[str, T]:
        """Copies outputs to their places; the others."""
        if missing := self._outputs - into.keys() - outputs.keys():
            raise RuntimeError(f"graph {self._graph.name} gave no {', '.join(sorted(missing))}")
        if unknown := outputs.keys() - self._outputs:
            raise RuntimeError(f"graph {self._graph.name} gave {', '.join(sorted(unknown))}, which it does not have")
        memory = self._memory
        for name in outputs.keys() & into.keys():
            found, stated = memory.spec(outputs[name]), memory.spec(into[name])
            if found != stated:
                raise RuntimeError(f"graph {self._graph.name}: {name} is {_shown(found)}, its place {_shown(stated)}")
            memory.write(into[name], memory.download(outputs[name]))
        return {name: value for name, value in outputs.items() if name not in into}


def _fits(found: tuple[str, tuple[int, ...]], stated: tuple[str, tuple[int | str, ...]], sizes: dict[str, int]) -> bool:
    """Whether a tensor has the dtype and shape of a port; notes the size of each symbolic dimension."""
    (dtype, shape), (stated_dtype, dims) = found, stated
    if dtype != stated_dtype or len(shape) != len(dims):
        return False
    for size, dim in zip(shape, dims, strict=True):
        if size != dim and (isinstance(dim, int) or sizes.setdefault(dim, size) != size):
            return False
    return True


def _shown(spec: tuple[str, tuple[int | str, ...]]) -> str:
    return f"{spec[0]}[{', '.join(map(str, spec[1]))}]"
