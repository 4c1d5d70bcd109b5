"""Which engine answers for which model name and budget, and how many may ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clasp_trt.bundle import Bundle
from clasp_trt.chain import names
from clasp_trt.errors import RequestError
from clasp_trt.runtime.engine import Engine
from clasp_trt.runtime.serving.problem import Problem, busy


@dataclass(eq=False)
class Served:
    """An engine. ``budget`` is how many visual tokens its bundle keeps, the mean over the decoder's layers."""

    engine: Engine
    model: str
    budget: int
    taken: int = 0

    def admit(self) -> None:
        """Takes a place among those that are answered or wait. Raises :class:`Problem` if there is none."""
        if self.taken >= self.engine.slots + self.engine.queue:
            raise busy()
        self.taken += 1

    def leave(self) -> None:
        """Gives the place back."""
        self.taken -= 1

    @property
    def queued(self) -> int:
        """How many of those that have a place have no slot."""
        return max(0, self.taken - self.engine.answering)


class House:
    """All engines of a server. Bundles of one checkpoint have one name, and each its budget; who names none is answered
    by the first. Raises :class:`RequestError` for bundles that cannot be told apart."""

    def __init__(self, engines: Sequence[Engine], name: str | None = None) -> None:
        self._served: dict[str, dict[int, Served]] = {}
        names = {engine.bundle.manifest.model.name for engine in engines}
        if name is not None and len(names) > 1:
            raise RequestError(f"one name for the models {', '.join(sorted(names))}; serve one, or leave the name out")
        for engine in engines:
            model = name or engine.bundle.manifest.model.name
            self._add(Served(engine, model, budget_of(engine.bundle)))

    def __iter__(self) -> Iterator[Served]:
        return (each for budgets in self._served.values() for each in budgets.values())

    @property
    def models(self) -> dict[str, list[Served]]:
        """What answers under each name, the default first."""
        return {name: list(budgets.values()) for name, budgets in self._served.items()}

    def find(self, model: str, budget: int | None) -> Served:
        """The engine for a request. Raises :class:`Problem`."""
        budgets = self._served.get(model)
        if budgets is None:
            known = ", ".join(self._served)
            raise Problem(
                404, f"there is no model {model[:200]!r} here; known: {known}", code="model_not_found", param="model"
            )
        if budget is None:
            return next(iter(budgets.values()))
        if budget not in budgets:
            raise Problem(
                400,
                f"clasp.budget is {budget}, but {model} is served at {', '.join(map(str, budgets))} visual tokens",
                param="clasp.budget",
            )
        return budgets[budget]

    def close(self, *, finish: bool = False) -> None:
        """Closes every engine."""
        for served in self:
            served.engine.close(finish=finish)

    def _add(self, served: Served) -> None:
        budgets = self._served.setdefault(served.model, {})
        for other in budgets.values():
            ours, theirs = served.engine.bundle, other.engine.bundle
            if not _are_of_one_checkpoint(ours, theirs):
                raise RequestError(
                    f"{ours.root} and {theirs.root} are both of a model named {served.model}, but not of the same "
                    "checkpoint; serve one of them"
                )
            if served.budget == other.budget:
                raise RequestError(
                    f"{ours.root} and {theirs.root} both keep {served.budget} visual tokens; serve one of them"
                )
        budgets[served.budget] = served


def budget_of(bundle: Bundle) -> int:
    """Visual tokens that a bundle keeps of the most that a request may have, the mean over the decoder's layers."""
    return round(bundle.manifest.schedule.mean_tokens)


def _are_of_one_checkpoint(one: Bundle, other: Bundle) -> bool:
    """Whether models are of one form and, where weights are held alike, have the same embedding."""
    if replace(one.manifest.model, source=None) != replace(other.manifest.model, source=None):
        return False
    return _held(one) != _held(other) or _embedding(one) == _embedding(other)


def _held(bundle: Bundle) -> object:
    manifest = bundle.manifest
    return manifest.target, manifest.precision, manifest.quantization


def _embedding(bundle: Bundle) -> str:
    graph = bundle.graph(names.EMBED).path
    files = bundle.manifest.files
    return files.get(f"{graph}.data", files[graph]).sha256
