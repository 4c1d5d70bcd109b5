"""The chain from image and prompt to answer: route, preprocess, vision, fuse, decode with pruning, sample."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clasp_trt.bundle import Bundle
from clasp_trt.chain import names, port
from clasp_trt.errors import ImageError, MethodError, PolicyError, PromptError, RouterError
from clasp_trt.methods import DEFAULT, Method, get
from clasp_trt.policy import Policy
from clasp_trt.runtime.backends.find import backend_for
from clasp_trt.runtime.backends.interface import Backend, Runner, Tensor
from clasp_trt.runtime.decoder import Decoder, Scores
from clasp_trt.runtime.media.image import ImageSource, load_image
from clasp_trt.runtime.media.processors import processor
from clasp_trt.runtime.media.seen import Block, Seen
from clasp_trt.runtime.result import Result
from clasp_trt.runtime.routing.folder import router_for
from clasp_trt.runtime.routing.router import Route, Router, forced
from clasp_trt.runtime.sampling import OverflowedError, Sampler, Sampling
from clasp_trt.runtime.text.prompt import PromptReader
from clasp_trt.runtime.timing import Timer
from clasp_trt.shortage import memory_for


def load(
    bundle: str | PathLike[str],
    *,
    policy: str | PathLike[str] | None = None,
    method: str | None = None,
    router: str | PathLike[str] | Router | None = None,
    threads: int | None = None,
    provider: str | None = None,
    verify: bool = False,
) -> Pipeline:
    """Opens a bundle for inference: its engines on the GPU, or its graphs by ONNX Runtime on the CPU.

    ``policy`` is a policy file that takes the place of the bundle's own; ``method`` names another pruning method of
    :data:`clasp_trt.methods.METHODS`; ``router`` is a folder that ``clasp-trt router`` made, or a router of your own,
    in place of what the bundle brings (or the rules); ``threads`` bounds the compute threads on the CPU (default: the
    usable cores); ``provider`` (``cpu``, ``cuda`` or ``tensorrt``) has ONNX Runtime run the graphs there, also those of
    a bundle of engines; ``verify`` also checks every file's hash. Close the pipeline, or use it as a context, to give a
    GPU's memory back before the process ends. Raises a :class:`clasp_trt.errors.ClaspError` for a malformed bundle, a
    backend that refuses it, or a router whose categories are not the policy's.
    """
    chosen = None if method is None else get(method)
    opened = Bundle.open(bundle, verify=verify)
    loaded = None if policy is None else Policy.load(policy)
    backend = backend_for(opened, threads=threads, provider=provider)
    try:
        with memory_for("to load the bundle"):
            return Pipeline(opened, backend, policy=loaded, method=chosen, router=router)
    except BaseException:
        backend.close()
        raise


@dataclass(frozen=True, eq=False)
class Encoded:
    """An image as the vision graph saw it, for any number of requests: :meth:`Pipeline.encode` makes it.

    ``outputs`` are those of the vision graph by port name, such as the ``features`` ``[1, layers, tokens, width]`` of
    every exported layer, not fused yet: tensors of the backend, which no request changes. ``pack`` are the projector's
    other inputs, likewise; ``blocks`` say which tokens come of it all. ``vision`` is the graph that gave the outputs.
    """

    outputs: Mapping[str, Tensor]
    pack: Mapping[str, Tensor]
    blocks: tuple[Block, ...]
    vision: Runner[Tensor]


class Answer(Iterator[str]):
    """A running request: iterate for pieces of text; afterwards :attr:`result` has the whole."""

    def __init__(self, steps: Generator[str, None, Result]) -> None:
        self._steps = steps
        self._result: Result | None = None

    def __next__(self) -> str:
        try:
            with memory_for("to answer"):
                return next(self._steps)
        except StopIteration as stop:
            if stop.value is not None:
                self._result = stop.value
            raise StopIteration from None

    @property
    def result(self) -> Result:
        """The finished answer; whatever was not iterated yet is generated first."""
        for _ in self:
            pass
        if self._result is None:
            raise RuntimeError("the request was interrupted and has no result")
        return self._result


class Pipeline:
    """A loaded bundle, which answers by its :attr:`policy` and with its :attr:`method`.

    It answers one request at a time; use one pipeline for each thread.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend[Any],
        *,
        policy: Policy | None = None,
        method: Method | None = None,
        router: str | PathLike[str] | Router | None = None,
    ) -> None:
        self.bundle = bundle
        self._given_router = router
        self._routed: Policy | None = None
        self._adopt(policy or bundle.policy, method or DEFAULT)
        self._backend: Backend[Tensor] = backend
        self._model = bundle.manifest.model
        self._prompts = PromptReader(bundle)
        self._process = processor(bundle.manifest.media.image.processor)
        self._vision = backend.load(bundle.path(bundle.graph(names.VISION).path), bundle.graph(names.VISION))
        self._projector = backend.load(bundle.path(bundle.graph(names.PROJECTOR).path), bundle.graph(names.PROJECTOR))
        self._decoder = Decoder(bundle, backend)

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives back what the backend holds; neither this pipeline nor a variant of it can answer afterwards."""
        self._backend.close()

    def variant(self, *, policy: Policy | None = None, method: Method | None = None) -> Pipeline:
        """This pipeline with another policy or pruning method; what is None stays as it is.

        Both share loaded graphs and caches, so a variant costs nothing, and only one of them can answer at a time.
        Raises :class:`clasp_trt.errors.PolicyError` or :class:`~clasp_trt.errors.MethodError` for one that the bundle
        cannot follow.
        """
        other = copy.copy(self)
        other._adopt(policy or self.policy, method or self.method)
        return other

    def encode(self, image: ImageSource) -> Encoded:
        """Runs the vision graph on ``image``: requests that are given the result need not run it again.

        The result serves this pipeline and its variants. Raises :class:`clasp_trt.errors.ImageError`.
        """
        timer = Timer()
        with memory_for("to encode the picture"):
            return self._run_vision(self._see(image, timer), timer)

    def generate(
        self,
        image: ImageSource | Encoded | None,
        prompt: str,
        *,
        max_new_tokens: int = 256,
        sampling: Sampling | None = None,
        category: str | None = None,
        ignore_stop: bool = False,
    ) -> Result:
        """Answers ``prompt`` about ``image``, which may be encoded (None: about text alone). See :meth:`stream`."""
        return self.stream(
            image, prompt,
            max_new_tokens=max_new_tokens, sampling=sampling, category=category, ignore_stop=ignore_stop,
        ).result  # fmt: skip

    def stream(
        self,
        image: ImageSource | Encoded | None,
        prompt: str,
        *,
        max_new_tokens: int = 256,
        sampling: Sampling | None = None,
        category: str | None = None,
        ignore_stop: bool = False,
    ) -> Answer:
        """Like :meth:`generate`, but the answer comes in pieces as it is made.

        ``sampling`` defaults to greedy decoding, ``category`` overrides the router; with ``ignore_stop`` an answer goes
        on after a stop token, so that its length is known beforehand. Nothing is computed before the first piece is
        asked for. The timings of an encoded image leave out what :meth:`encode` did. Raises
        :class:`clasp_trt.errors.ImageError` or :class:`~clasp_trt.errors.PromptError`.
        """
        if type(max_new_tokens) is not int or max_new_tokens < 1:
            raise PromptError(f"max_new_tokens is {max_new_tokens!r}, expected a whole number of at least 1")
        if not isinstance(prompt, str):
            raise PromptError(f"the prompt is {type(prompt).__name__}, expected a string")
        stops = () if ignore_stop else self._model.stop_token_ids
        return Answer(self._answer(image, prompt, max_new_tokens, sampling or Sampling(), category, stops))

    def route(self, prompt: str) -> Route:
        """The category of a prompt, as a request would see it."""
        return self._router.route(prompt)

    def see(self, image: Image.Image) -> Seen:
        """What the model sees of an image, and where each visual token looks; nothing is computed of it."""
        return self._process(image)

    def _adopt(self, policy: Policy, method: Method) -> None:
        """Takes on a policy and a method, with all that follows from them."""
        names = tuple(category.name for category in policy.categories)
        columns = _columns(policy.layers, self.bundle.policy.layers)
        _check_method(method, self.bundle)
        self.policy, self.method = policy, method
        self._names, self._columns = names, columns
        self._adopt_router(policy)

    def _adopt_router(self, policy: Policy) -> None:
        """A router knows names and threshold, which most policies share: a folder is read again for others alone."""
        before, self._routed = self._routed, policy
        if before is not None and _routing(before) == _routing(policy):
            return
        given = self._given_router
        if given is None or isinstance(given, (str, PathLike)):
            self._router = router_for(policy, self.bundle, given)
            return
        if given.names != self._names:
            raise RouterError(
                f"the router knows the categories {', '.join(given.names)}, but the policy has "
                f"{', '.join(self._names)}; give a router for this policy"
            )
        self._router = given

    def _answer(
        self,
        image: ImageSource | Encoded | None,
        prompt: str,
        max_new_tokens: int,
        sampling: Sampling,
        category: str | None,
        stops: Sequence[int],
    ) -> Generator[str, None, Result]:
        timer = Timer()
        with timer.step("route"):
            route = self._router.route(prompt) if category is None else self._forced(category)
        seen = None if image is None or isinstance(image, Encoded) else self._see(image, timer)
        blocks = image.blocks if isinstance(image, Encoded) else () if seen is None else seen.blocks
        with timer.step("tokenize"):
            tokens = self._prompts.read(prompt, blocks)
            room = self._decoder.room(tokens, self.method)
            self._backend.check_prompt(len(tokens.input_ids) - len(tokens.visual_index))
        visual = saliency = None
        encoded = image if isinstance(image, Encoded) else None if seen is None else self._run_vision(seen, timer)
        if encoded is not None:
            visual, saliency = self._project(encoded, route.category, timer), encoded.outputs[port.CLS_SALIENCY]
        counts = self.policy.pivot_counts(route.category, self.bundle.manifest.schedule.keeps)
        sequence, scores, kept = self._decoder.prefill(tokens, visual, saliency, counts, timer, self.method)
        sampler, decoder = Sampler(sampling), self._prompts.tokenizer.stream()
        token = self._next(sampler, scores)
        timer.milliseconds["ttft"] = timer.elapsed_ms()
        ids, decoding, reason = [token], Timer(), "length"
        while True:
            if token in stops:
                reason = "stop"
                break
            if piece := decoder.push(token):
                yield piece
            if len(ids) == max_new_tokens:
                break
            if len(ids) > room:
                reason = "context"
                break
            with decoding.step("decode"):
                token = self._next(sampler, self._decoder.step(sequence, token))
            ids.append(token)
        if piece := decoder.finish():
            yield piece
        return Result(
            text=self._prompts.tokenizer.decode(ids[:-1] if reason == "stop" else ids),
            token_ids=tuple(ids),
            finish_reason=reason,
            route=route,
            kept=kept,
            prompt_tokens=len(tokens.input_ids),
            visual_tokens=len(tokens.visual_index),
            timings_ms=timer.milliseconds,
            tpot_ms=tuple(span.milliseconds for span in decoding.spans),
            spans=(*timer.spans, *decoding.spans),
        )

    def _forced(self, category: str) -> Route:
        if category not in self._names:
            raise PromptError(
                f"category {category!r} is not in the bundle's policy; expected one of: {', '.join(self._names)}"
            )
        return forced(self._names, self._names.index(category))

    def _see(self, image: ImageSource, timer: Timer) -> Seen:
        with timer.step("preprocess"):
            return self._process(load_image(image))

    def _run_vision(self, seen: Seen, timer: Timer) -> Encoded:
        upload = self._backend.upload
        with timer.step(names.VISION):
            outputs = self._vision({name: upload(array) for name, array in seen.vision.items()}, {})
            pack = {name: upload(array) for name, array in seen.pack.items()}
        return Encoded(outputs, pack, seen.blocks, self._vision)

    def _project(self, image: Encoded, category: int, timer: Timer) -> Tensor:
        """Visual tokens ``[1, tokens, width]``, fused for ``category`` if the method fuses."""
        if image.vision is not self._vision:
            raise ImageError("the image was encoded by another loaded bundle; encode it with this pipeline")
        with timer.step("project"):
            layers = self.bundle.policy.layers
            alpha = np.zeros((1, len(layers)), dtype=np.float32)
            if self.method.fused:
                alpha[0, self._columns] = self.policy.alpha(category)
            else:
                alpha[0, layers.index(self._model.vision.feature_layer)] = 1
            inputs = {
                port.FEATURES: image.outputs[port.FEATURES],
                port.ALPHA: self._backend.upload(alpha),
                **image.pack,
            }
            projected = self._projector(inputs, {})
        return projected[port.VISUAL]

    def _next(self, sampler: Sampler, scores: Scores) -> int:
        """The next token: found where the logits are if possible, else from the logits."""
        try:
            if sampler.greedy and scores.choice is not None:
                token = int(self._backend.download(scores.choice).item())
                if token < 0:
                    raise OverflowedError("logits that are not finite")
                return token
            logits: NDArray[Any] = self._backend.download(scores.logits).reshape(-1)
            return sampler.next(logits)
        except OverflowedError:
            self._decoder.forget()
            raise


def _check_method(method: Method, bundle: Bundle) -> None:
    stages, layer = bundle.manifest.schedule.stages, bundle.manifest.model.vision.feature_layer
    if not stages and method.needs_stages:
        raise MethodError(
            f"method {method.name} prunes, but the bundle has no stages; build it with --prune-at decoder or encoder"
        )
    if method.raters is not None and any(stage.after_layer < 0 for stage in stages):
        raise MethodError(f"method {method.name} rates by the prompt's attention; build with --prune-at decoder")
    if not method.fused and layer not in bundle.policy.layers:
        raise MethodError(
            f"method {method.name} reads vision layer {layer}, which the bundle does not hold "
            f"(it has {_numbers(bundle.policy.layers)}); build it with a policy that names layer {layer}"
        )


def _columns(wanted: Sequence[int], exported: Sequence[int]) -> list[int]:
    """Where the layers of a policy are among those that the bundle's vision graph gives."""
    missing = [layer for layer in wanted if layer not in exported]
    if missing:
        raise PolicyError(
            f"the policy reads vision layers {_numbers(missing)}, but the bundle holds {_numbers(exported)}; "
            "build the bundle with this policy"
        )
    return [list(exported).index(layer) for layer in wanted]


def _routing(policy: Policy) -> tuple[float, tuple[str, ...]]:
    """What a router takes from a policy."""
    return policy.threshold, tuple(category.name for category in policy.categories)


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
