"""The chain from image and prompt to answer: route, preprocess, vision, fuse, decode with pruning, sample."""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clasp_trt.bundle import Bundle
from clasp_trt.errors import PromptError, RouterError
from clasp_trt.methods import DEFAULT, Method, get
from clasp_trt.policy import Policy
from clasp_trt.runtime.answer import Answer
from clasp_trt.runtime.asked import Asked, request
from clasp_trt.runtime.backends.find import backend_for
from clasp_trt.runtime.backends.interface import Backend, Tensor
from clasp_trt.runtime.decoder import Decoder, Scores
from clasp_trt.runtime.encoded import Encoded, Fresh, Picture, Pictures, listed
from clasp_trt.runtime.eyes import Eyes
from clasp_trt.runtime.feature_cache import DEFAULT_BYTES
from clasp_trt.runtime.fitting import check_images, check_method, check_video, columns, routing
from clasp_trt.runtime.logits.constraint import Constraints
from clasp_trt.runtime.logits.processors import Request, processors
from clasp_trt.runtime.media.clip import ClipSource
from clasp_trt.runtime.media.image import ImageSource
from clasp_trt.runtime.media.seen import Seen
from clasp_trt.runtime.result import Result
from clasp_trt.runtime.routing.folder import router_for
from clasp_trt.runtime.routing.router import OwnRouter, Route, Router, forced
from clasp_trt.runtime.sampling import OverflowedError, Sampler, Sampling
from clasp_trt.runtime.text.messages import Dialogue, dialogue
from clasp_trt.runtime.text.prompt import PromptReader
from clasp_trt.runtime.text.wording import Wording
from clasp_trt.runtime.timing import Timer
from clasp_trt.runtime.turns import Turns
from clasp_trt.runtime.wishes import Wishes
from clasp_trt.shortage import memory_for

if TYPE_CHECKING:
    from typing_extensions import Unpack


def load(
    bundle: str | PathLike[str],
    *,
    policy: str | PathLike[str] | None = None,
    method: str | None = None,
    router: str | PathLike[str] | Router | None = None,
    threads: int | None = None,
    provider: str | None = None,
    verify: bool = False,
    image_cache_bytes: int = DEFAULT_BYTES,
    reuse_prompts: bool = True,
) -> Pipeline:
    """Opens a bundle for inference: its engines on the GPU, or its graphs by ONNX Runtime on the CPU.

    ``policy`` is a policy file that takes the place of the bundle's own; ``method`` names another pruning method of
    :data:`clasp_trt.methods.METHODS`; ``router`` is a folder that ``clasp-trt router`` made, or a router of your own,
    in place of what the bundle brings (or the rules); ``threads`` bounds the compute threads on the CPU (default: the
    usable cores); ``provider`` (``cpu``, ``cuda`` or ``tensorrt``) has ONNX Runtime run the graphs there, also those of
    a bundle of engines; ``verify`` also checks every file's hash. What the vision graph gave for the latest pictures is
    kept in ``image_cache_bytes``, by their pixels (``docs/conversations.md``; 0 keeps nothing); with ``reuse_prompts``
    a prompt that begins like the one before starts after what both have before their first image. Close the pipeline,
    or use it as a context, to give a GPU's memory back before the process ends. Raises a
    :class:`clasp_trt.errors.ClaspError` for a malformed bundle, a backend that refuses it, or a router whose categories
    are not the policy's.
    """
    chosen = None if method is None else get(method)
    opened = Bundle.open(bundle, verify=verify)
    loaded = None if policy is None else Policy.load(policy)
    backend = backend_for(opened, threads=threads, provider=provider)
    try:
        with memory_for("to load the bundle"):
            return Pipeline(
                opened, backend,
                policy=loaded, method=chosen, router=router, image_cache_bytes=image_cache_bytes,
                reuse_prompts=reuse_prompts,
            )  # fmt: skip
    except BaseException:
        backend.close()
        raise


class Pipeline:
    """A loaded bundle, which answers by its :attr:`policy` and with its :attr:`method`.

    It answers one request at a time. Several threads may ask: each waits for its turn (:mod:`clasp_trt.runtime.turns`),
    so that one pipeline for each thread is faster where memory allows. The image may be encoded between two pieces of a
    streamed answer.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend[Any],
        *,
        policy: Policy | None = None,
        method: Method | None = None,
        router: str | PathLike[str] | Router | None = None,
        image_cache_bytes: int = 0,
        reuse_prompts: bool = False,
    ) -> None:
        self.bundle = bundle
        self._router: Router
        self._given_router = router
        self._routed: Policy | None = None
        self._opened: list[OwnRouter] = []  # of variants too
        self._turns = Turns()
        self._adopt(policy or bundle.policy, method or DEFAULT)
        self._backend: Backend[Tensor] = backend
        self._model = bundle.manifest.model
        self._prompts = PromptReader(bundle)
        self._eyes = Eyes(bundle, backend, image_cache_bytes)
        self._decoder = Decoder(bundle, backend, reuses=reuse_prompts)
        stops, vocabulary = self._model.stop_token_ids, self._model.decoder.vocab_size
        self._constraints = Constraints(self._prompts.tokenizer, stops, vocabulary)

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives back what backend and router hold, after the step that another thread may be computing; neither this
        pipeline nor a variant of it can answer afterwards, and answers under way end in a :class:`BackendError`."""
        self._turns.close(self._release)

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
        with self._turns.between(), memory_for("to encode the picture"):
            return self._eyes.encode(self._eyes.see(image, timer), timer)

    def generate(
        self,
        image: Pictures,
        prompt: str,
        *,
        video: ClipSource | None = None,
        max_new_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop: Sequence[str] | None = None,
        choices: Sequence[str] | None = None,
        regex: str | None = None,
        json_schema: Mapping[str, Any] | None = None,
        category: str | None = None,
        ignore_stop: bool = False,
    ) -> Result:
        """Answers ``prompt`` about ``image``, which may be encoded, or a list of several (None: about text alone). See
        :meth:`stream`."""
        return self.stream(
            image, prompt, video=video,
            max_new_tokens=max_new_tokens, sampling=sampling, stop=stop, choices=choices, regex=regex,
            json_schema=json_schema, category=category, ignore_stop=ignore_stop,
        ).result  # fmt: skip

    def stream(
        self,
        image: Pictures,
        prompt: str,
        *,
        video: ClipSource | None = None,
        max_new_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop: Sequence[str] | None = None,
        choices: Sequence[str] | None = None,
        regex: str | None = None,
        json_schema: Mapping[str, Any] | None = None,
        category: str | None = None,
        ignore_stop: bool = False,
    ) -> Answer:
        """Like :meth:`generate`, but the answer comes in pieces as it is made.

        What is None is as the bundle says (``docs/generation.md``): ``max_new_tokens`` (else 256), how tokens are
        chosen (``sampling``), and the strings that ``stop`` an answer. ``choices``, ``regex`` or ``json_schema`` say
        what the whole answer may be. ``category`` overrides the router; with ``ignore_stop`` an answer goes on after a
        stop token or string, so that its length is known beforehand. Nothing is computed before the first piece is
        asked for. Images go where ``prompt`` has the image's token, once for each, or else before it, in their order.
        The timings of an encoded image leave out what :meth:`encode` did. A ``video`` is refused by bundles that take
        no clips. Raises
        :class:`clasp_trt.errors.ImageError` or :class:`~clasp_trt.errors.PromptError`.
        """
        if not isinstance(prompt, str):
            raise PromptError(f"the prompt is {type(prompt).__name__}, expected a string")
        if video is not None:
            check_video(self.bundle)
        return self._begin(
            prompt, listed(image),
            max_new_tokens=max_new_tokens, sampling=sampling, stop=stop, choices=choices, regex=regex,
            json_schema=json_schema, category=category, ignore_stop=ignore_stop,
        )  # fmt: skip

    def chat(self, messages: Sequence[Mapping[str, Any]], **wishes: Unpack[Wishes]) -> Result:
        """The assistant's answer to ``messages``. See :meth:`stream_chat`."""
        return self.stream_chat(messages, **wishes).result

    def stream_chat(self, messages: Sequence[Mapping[str, Any]], **wishes: Unpack[Wishes]) -> Answer:
        """Like :meth:`stream`, with its keywords, for a conversation in transformers' form, of which the last message
        is the user's: ``docs/conversations.md``. Images are what :meth:`stream` takes, and count over all messages.

        Tokens are chosen anew for each answer, by the text of the last message, after its last image if it has one; the
        router reads that text alone. Raises :class:`clasp_trt.errors.ImageError` or
        :class:`~clasp_trt.errors.PromptError`.
        """
        read = dialogue(messages)
        if read.clips:
            check_video(self.bundle)
        return self._begin(read, read.images, **wishes)

    def _begin(self, prompt: str | Dialogue, images: Sequence[Picture], **wishes: Unpack[Wishes]) -> Answer:
        asked = request(prompt, self.bundle.generation, self._constraints, **wishes)
        check_images(len(images), self.bundle)
        return Answer(self._answer(images, asked), self._turns)

    def route(self, prompt: str) -> Route:
        """The category of a prompt, as a request would see it."""
        self._turns.check()
        return self._router.route(prompt)

    def see(self, image: Image.Image) -> Seen:
        """What the model sees of an image, and where each visual token looks; nothing is computed of it."""
        return self._eyes.process(image)

    def _adopt(self, policy: Policy, method: Method) -> None:
        """Takes on a policy and a method, with all that follows from them."""
        names = tuple(category.name for category in policy.categories)
        places = columns(policy.layers, self.bundle.policy.layers)
        check_method(method, self.bundle)
        self.policy, self.method = policy, method
        self._names, self._columns = names, places
        self._adopt_router(policy)

    def _adopt_router(self, policy: Policy) -> None:
        """A router knows names and threshold, which most policies share: a folder is read again for others alone."""
        before, self._routed = self._routed, policy
        if before is not None and routing(before) == routing(policy):
            return
        given = self._given_router
        if given is None or isinstance(given, (str, PathLike)):
            own = router_for(policy, self.bundle, given)
            self._opened.append(own)
            self._router = own
            return
        if given.names != self._names:
            raise RouterError(
                f"the router knows the categories {', '.join(given.names)}, but the policy has "
                f"{', '.join(self._names)}; give a router for this policy"
            )
        self._router = given

    def _answer(self, images: Sequence[Picture], asked: Asked) -> Generator[str, None, Result]:
        timer, generation = Timer(), asked.generation
        with timer.step("route"):
            route = self._router.route(asked.text) if asked.category is None else self._forced(asked.category)
        pictures = [image if isinstance(image, Encoded) else self._eyes.see(image, timer) for image in images]
        with timer.step("tokenize"):
            tokens = self._prompts.read(asked.prompt, *(picture.blocks for picture in pictures))
            room = self._decoder.room(tokens, self.method)
            self._backend.check_prompt(len(tokens.input_ids) - len(tokens.visual_index))
        stops = self._model.stop_token_ids
        known = tokens.known(self._model.decoder.vocab_size)
        wanted = Request(known, stops, asked.limit(len(known)))
        sampler = Sampler(
            generation, seed=asked.seed, prompt=known, processors=processors(generation, wanted),
            constraint=asked.constraint,
        )  # fmt: skip
        strings = () if asked.ignore_stop else generation.stop_strings
        wording = Wording(self._prompts.tokenizer, strings, tokens.input_ids.tolist())
        visual = self._eyes.look(pictures, self._alpha(route.category), timer)
        keeps = () if visual.tokens is None else self.bundle.manifest.schedule.keeps_of(len(tokens.visual_index))
        counts = self.policy.pivot_counts(route.category, keeps)
        sequence, scores, kept = self._decoder.prefill(
            tokens, visual.tokens, visual.saliency, counts, timer, self.method, deepstack=visual.deepstack
        )
        token = self._next(sampler, scores)
        timer.milliseconds["ttft"] = timer.elapsed_ms()
        ids, decoding, reason = [token], Timer(), "stop"
        while asked.ignore_stop or token not in stops:
            piece = wording.push(token)
            if piece:
                yield piece
            if wording.stopped or sampler.complete:
                break
            if len(ids) == wanted.limit or len(ids) > room:
                reason = "length" if len(ids) == wanted.limit else "context"
                break
            self._turns.check()
            with decoding.step("decode"):
                token = self._next(sampler, self._decoder.step(sequence, token))
            ids.append(token)
        if piece := wording.finish():
            yield piece
        return Result(
            text=wording.text,
            token_ids=tuple(ids),
            finish_reason=reason,
            route=route,
            kept=kept,
            prompt_tokens=len(tokens.input_ids),
            visual_tokens=len(tokens.visual_index),
            reused_images=sum(given is not taken for given, taken in zip(images, pictures, strict=True))
            - sum(isinstance(taken, Fresh) for taken in pictures),
            reused_tokens=sequence.reused,
            timings_ms=timer.milliseconds,
            tpot_ms=tuple(span.milliseconds for span in decoding.spans),
            spans=(*timer.spans, *decoding.spans),
            generation=generation,
        )

    def _release(self) -> None:
        self._eyes.forget()
        try:
            self._decoder.release()
            self._backend.close()
        finally:
            for router in self._opened:
                router.close()

    def _forced(self, category: str) -> Route:
        if category not in self._names:
            raise PromptError(
                f"category {category!r} is not in the bundle's policy; expected one of: {', '.join(self._names)}"
            )
        return forced(self._names, self._names.index(category))

    def _alpha(self, category: int) -> NDArray[np.float32]:
        """Weights of the exported layers, float32 ``[1, layers]``: those of the category, or of the trained layer alone
        for a method that does not fuse."""
        layers = self.bundle.policy.layers
        alpha = np.zeros((1, len(layers)), dtype=np.float32)
        if self.method.fused:
            alpha[0, self._columns] = self.policy.alpha(category)
        else:
            alpha[0, layers.index(self._model.vision.feature_layer)] = 1
        return alpha

    def _next(self, sampler: Sampler, scores: Scores) -> int:
        """The next token: found where the logits are if possible, else from the logits."""
        try:
            if sampler.argmax and scores.choice is not None:
                token = int(self._backend.download(scores.choice).item())
                if token < 0:
                    raise OverflowedError("logits that are not finite")
                return token
            logits: NDArray[Any] = self._backend.download(scores.logits).reshape(-1)
            return sampler.next(logits)
        except OverflowedError:
            self._decoder.forget()
            raise
