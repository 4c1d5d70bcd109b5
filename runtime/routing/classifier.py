"""A router that is a transformer with a classification head, made by ``clasp-trt router import``.

Beside ``router.json`` lie ``router.onnx``, one graph from the token ids of a prompt to a logit for each label, and
``router.tokenizer.json``. ``router.json`` says which category each label stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.bundle import Graph, TensorSpec
from clasp_trt.errors import BackendError, BundleError, RouterError
from clasp_trt.runtime.backends.find import module
from clasp_trt.runtime.backends.interface import Backend
from clasp_trt.runtime.routing.folder import COMMON, RouterSpec
from clasp_trt.runtime.routing.router import Route, decided, ends
from clasp_trt.runtime.text.tokenizer import Tokenizer

KIND = "classifier"
GRAPH, TOKENIZER = "router.onnx", "router.tokenizer.json"
INPUT, OUTPUT = "input_ids", "logits"
MAX_TOKENS = 4096
"""No router reads more of a prompt than this."""

_KEYS = ("labels", "max_tokens", "source")
_PROBE = "a"  # in every vocabulary; what a tokenizer puts around it, it puts around any text


def graph_of(labels: int) -> Graph:
    """The ports of ``router.onnx``.

    Input ``input_ids`` int64 ``[1, tokens]``: a prompt with the special tokens around it. Output ``logits`` float32
    ``[1, labels]``.
    """
    ports = TensorSpec(INPUT, "int64", (1, "tokens")), TensorSpec(OUTPUT, "float32", (1, labels))
    return Graph("router", GRAPH, ports[:1], ports[1:])


class Framing:
    """Texts as token ids of bounded length, with the special tokens that the tokenizer puts around them."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        """Raises :class:`RouterError` if the special tokens leave no room."""
        whole, inner = tokenizer.encode(_PROBE), tokenizer.encode(_PROBE, add_special_tokens=False)
        start = next((at for at in range(len(whole)) if whole[at : at + len(inner)] == inner), 0) if inner else 0
        self._before, self._after = whole[:start], whole[start + len(inner) :]
        self._room = max_tokens - len(self._before) - len(self._after)
        if self._room < 1:
            special = len(whole) - len(inner)
            raise RouterError(f"max_tokens: {max_tokens} leaves no room for text beside {special} special tokens")
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """Ids of ``text``, at most ``max_tokens``; where it is longer, its middle is left out. Takes any string."""
        whole = text.encode("utf-8", "replace").decode("utf-8")  # half of a surrogate pair is no text
        ids = self._tokenizer.encode(ends(whole), add_special_tokens=False)
        if len(ids) > self._room:
            head = (self._room + 1) // 2
            ids = [*ids[:head], *ids[len(ids) - (self._room - head) :]]
        return [*self._before, *ids, *self._after]


class ClassifierRouter:
    """The softmax over the labels of a text classifier, summed over the labels of each category.

    A category that no label stands for is never answered, and Default is where no other reaches the threshold.
    """

    def __init__(
        self,
        names: Sequence[str],
        labels: Sequence[int],
        threshold: float,
        framing: Framing,
        logits: Callable[[NDArray[np.int64]], NDArray[np.float32]],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Args:
            names: the policy's categories in order, the last of them Default.
            labels: for each logit the index of its category.
            threshold: least probability of a category other than Default, 0..1.
            framing: makes ids of a prompt.
            logits: maps ids ``[1, tokens]`` to float32 ``[1, labels]``.
            close: gives back what ``logits`` needs.
        """
        self._names = tuple(names)
        self._labels = np.asarray(labels)
        self._threshold = threshold
        self._framing = framing
        self._logits, self._close = logits, close

    @property
    def names(self) -> tuple[str, ...]:
        """See :class:`~clasp_trt.runtime.routing.router.Router`."""
        return self._names

    def close(self) -> None:
        """See :class:`~clasp_trt.runtime.routing.router.OwnRouter`."""
        self._close()

    def route(self, prompt: str) -> Route:
        """Decide; see :class:`~clasp_trt.runtime.routing.router.Router`. The network gives no reasons: no ``why``."""
        ids = self._framing.encode(prompt)
        if not ids:  # of a tokenizer without special tokens an empty prompt leaves nothing to read
            return decided(self._names, [0.0] * (len(self._names) - 1) + [1.0], self._threshold)
        logits = self._logits(np.array([ids], np.int64))[0].astype(np.float64)
        shares = np.exp(logits - logits.max())
        sums = np.bincount(self._labels, shares / shares.sum(), minlength=len(self._names))
        return decided(self._names, sums.tolist(), self._threshold)


def load(spec: RouterSpec, threshold: float) -> ClassifierRouter:
    """The router of a folder. Raises :class:`RouterError` or :class:`BackendError` for one that is damaged."""
    labels, max_tokens = _fields(spec)
    try:
        tokenizer = Tokenizer.from_file(spec.folder / TOKENIZER)
        framing = Framing(tokenizer, max_tokens)
    except (BundleError, RouterError) as error:
        raise RouterError(f"{spec.folder}: {error}; make the router again") from None
    backend, logits = _session(spec.folder / GRAPH, len(labels))
    router = ClassifierRouter(spec.categories, labels, threshold, framing, logits, backend.close)
    router.route(_PROBE)  # a graph that does not fit must not wait for the first request
    return router


def _fields(spec: RouterSpec) -> tuple[list[int], int]:
    of = spec.document.record(*COMMON, *_KEYS)
    labels = [item.one_of(spec.categories) for item in of["labels"].elements()]
    if not labels:
        of["labels"].fail("the category of each logit")
    return [spec.categories.index(label) for label in labels], of["max_tokens"].integer(1, MAX_TOKENS)


def _session(path: Path, labels: int) -> tuple[Backend[Any], Callable[[NDArray[np.int64]], NDArray[np.float32]]]:
    """The graph on one thread: a prompt is short, and the model's own threads are waiting for it."""
    if not path.is_file():
        raise RouterError(f"{path}: missing; make the router again")
    backend: Backend[Any] = module("onnxruntime").OrtBackend(threads=1)
    runner = backend.load(path, graph_of(labels))

    def logits(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = backend.download(runner({INPUT: backend.upload(ids)}, {})[OUTPUT])
        if found.shape != (1, labels):
            raise BackendError(f"{path.name} gives {list(found.shape)} logits, expected [1, {labels}]; make it again")
        return found

    return backend, logits
