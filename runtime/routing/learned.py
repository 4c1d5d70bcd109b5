"""The learned router: hashed features of the prompt, and a small graph that ONNX Runtime evaluates on one core."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clasp_trt.errors import BackendError, RouterError
from clasp_trt.runtime.routing.features import END, START, clean, features, words_of
from clasp_trt.runtime.routing.folder import SPEC, RouterSpec
from clasp_trt.runtime.routing.model import GRAPH, RouterModel
from clasp_trt.runtime.routing.router import Route, decided, forced
from clasp_trt.shortage import is_shortage, shortage

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_REASONS = 5


class LearnedRouter:
    """A router that was trained by ``clasp-trt router train``; see :class:`clasp_trt.runtime.routing.router.Router`.

    Below the threshold the answer is Default. A phrase of the model's overrides decides alone. ``why`` names the pieces
    of the prompt that spoke most for the likeliest category.
    """

    def __init__(self, model: RouterModel, session: InferenceSession, threshold: float | None = None) -> None:
        """
        Args:
            model: what goes with the graph.
            session: the graph.
            threshold: least probability of a category other than Default, 0..1; None takes the model's own.

        Raises:
            RouterError: a threshold that is no probability, or a graph that does not fit the model.
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise RouterError(f"the router's threshold is {threshold!r}; expected 0 to 1")
        self.model = model
        self.threshold = model.threshold if threshold is None else threshold
        self._session: InferenceSession | None = session
        self._overrides = [(f" {' '.join(words_of(phrase))} ", name) for phrase, name in model.overrides.items()]
        _check(model, session)

    @staticmethod
    def load(folder: str | os.PathLike[str], threshold: float | None = None) -> LearnedRouter:
        """The router in ``folder``, ``router.onnx`` with ``router.json``.

        Raises:
            RouterError: the files are missing or malformed, or do not belong together.
            BackendError: ONNX Runtime is missing.
        """
        return load(RouterSpec.read(folder), threshold)

    @property
    def names(self) -> tuple[str, ...]:
        """See :class:`~clasp_trt.runtime.routing.router.Router`."""
        return self.model.categories

    def close(self) -> None:
        """See :class:`~clasp_trt.runtime.routing.router.OwnRouter`."""
        self._session = None

    def route(self, prompt: str) -> Route:
        """Decide; see :class:`~clasp_trt.runtime.routing.router.Router`."""
        override = self._override(prompt)
        if override is not None:
            phrase, name = override
            return replace(forced(self.names, self.names.index(name)), why=(f"{name}: {phrase} (override)",))
        shares, evidence, labels = self._evaluate(prompt)
        best = int(np.argmax(shares))
        return decided(self.names, shares.tolist(), self.threshold, _reasons(self.names[best], best, evidence, labels))

    def _override(self, prompt: str) -> tuple[str, str] | None:
        text = f" {' '.join(words_of(clean(prompt)))} "
        return next(((phrase.strip(), name) for phrase, name in self._overrides if phrase in text), None)

    def _evaluate(self, prompt: str) -> tuple[NDArray[np.float64], NDArray[np.float32], tuple[str, ...]]:
        """Probabilities ``[categories]``, evidence ``[n, categories]``, and the ``n`` features' labels."""
        found, session = features(prompt, self.model.buckets, self.model.features), self._session
        if session is None:
            raise BackendError("the router was closed; load it again")
        probabilities, evidence = session.run(
            ["probabilities", "evidence"], {"ids": found.ids, "weights": found.weights}
        )
        shares: NDArray[np.float64] = probabilities.astype(np.float64)
        return shares / shares.sum(), evidence, found.labels


def load(spec: RouterSpec, threshold: float | None) -> LearnedRouter:
    """The router of a folder. Raises :class:`RouterError` or :class:`BackendError` for one that is damaged."""
    model = RouterModel.of(spec)
    return LearnedRouter(model, _open(spec.folder / GRAPH, model.sha256), threshold)


def _open(path: Path, sha256: str) -> InferenceSession:
    try:
        import onnxruntime as ort
    except ImportError as error:
        if is_shortage(error):
            raise shortage("to load onnxruntime", error) from error
        raise BackendError(f"onnxruntime cannot be imported ({error}); pip install onnxruntime") from error
    try:
        graph = path.read_bytes()
    except OSError as error:
        raise RouterError(f"{path} cannot be read ({error.strerror or error}); train a router first") from None
    if hashlib.sha256(graph).hexdigest() != sha256:
        raise RouterError(f"{path} is not the graph that {SPEC} beside it names; train the router again")
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are raised, and told once
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # microseconds of work
    options.enable_cpu_mem_arena = False  # which would keep more than the graph needs
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base
        if is_shortage(error):
            raise shortage(f"to load {path.name}", error, len(graph)) from error
        raise RouterError(f"ONNX Runtime refused {path}; expected the graph beside {SPEC}, train it again") from error


def _check(model: RouterModel, session: InferenceSession) -> None:
    """Raises :class:`RouterError` for a graph of other categories or buckets: no prompt must meet one."""
    meta = session.get_modelmeta().custom_metadata_map
    for what, stated in (("categories", len(model.categories)), ("buckets", model.buckets)):
        if meta.get(what) != str(stated):
            raise RouterError(f"{GRAPH} has {meta.get(what)} {what}, {SPEC} {stated}; train the router again")


def _reasons(name: str, category: int, evidence: NDArray[np.float32], labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels that spoke most for a category, against the mean of the others; a label is one reason."""
    for_it = evidence[:, category] - (evidence.sum(axis=1) - evidence[:, category]) / max(1, evidence.shape[1] - 1)
    total: dict[str, float] = defaultdict(float)
    for label, value in zip(labels, for_it.tolist(), strict=True):
        total[label.strip(f"{START}{END} ")] += value
    best = sorted((item for item in total.items() if item[1] > 0), key=lambda item: (-item[1], item[0]))
    return tuple(f"{name}: {label[:60]}" for label, _ in best if label)[:_REASONS]
