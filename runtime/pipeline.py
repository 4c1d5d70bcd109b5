"""The chain from image and prompt to answer: route, preprocess, vision, fuse, decode with pruning, sample."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any

from PIL import Image

from clasp_trt.bundle import Bundle
from clasp_trt.errors import ClaspError, PromptError
from clasp_trt.methods import Method
from clasp_trt.policy import Policy
from clasp_trt.runtime.answer import Answer
from clasp_trt.runtime.asked import Asked
from clasp_trt.runtime.backends.interface import Backend
from clasp_trt.runtime.draft import CancelledError, Draft
from clasp_trt.runtime.encoded import Encoded, Picture, Pictures, Shown, Video, listed
from clasp_trt.runtime.event import Event
from clasp_trt.runtime.feature_cache import DEFAULT_BYTES
from clasp_trt.runtime.fitting import check_drafted
from clasp_trt.runtime.manner import Manner
from clasp_trt.runtime.media.clip import Clip, ClipSource
from clasp_trt.runtime.media.image import ImageSource
from clasp_trt.runtime.media.processors.clips import Filmed
from clasp_trt.runtime.media.seen import Seen
from clasp_trt.runtime.opening import opened
from clasp_trt.runtime.proposing.drafting import Drafting
from clasp_trt.runtime.result import Result
from clasp_trt.runtime.routing.router import Route, Router
from clasp_trt.runtime.sampling import Sampling
from clasp_trt.runtime.steps import Steps
from clasp_trt.runtime.text.messages import Dialogue, dialogue
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
    draft: str | PathLike[str] | None = None,
) -> Pipeline:
    """Opens a bundle for inference: its engines on the GPU, or its graphs by ONNX Runtime on the CPU.

    ``policy`` is a policy file that takes the place of the bundle's own; ``method`` names another pruning method of
    :data:`clasp_trt.methods.METHODS`; ``router`` is a folder that ``clasp-trt router`` made, or a router of your own,
    in place of what the bundle brings (or the rules); ``threads`` bounds the compute threads on the CPU (default: the
    usable cores); ``provider`` (``cpu``, ``cuda`` or ``tensorrt``) has ONNX Runtime run the graphs there, also those of
    a bundle of engines; ``verify`` also checks every file's hash. What the vision graph gave for the latest pictures is
    kept in ``image_cache_bytes``, by their pixels (``docs/conversations.md``; 0 keeps nothing); with ``reuse_prompts``
    a prompt that begins like the one before starts after what both have before their first image. ``draft`` is a
    smaller bundle of the same tokens, on the same kind of backend, which may propose them. Close the pipeline,
    or use it as a context, to give a GPU's memory back before the process ends. Raises a
    :class:`clasp_trt.errors.ClaspError` for a malformed bundle, a backend that refuses it, or a router whose categories
    are not the policy's.
    """

    def made(whole: Bundle, backend: Backend[Any], own: Policy | None, chosen: Method | None) -> Pipeline:
        return Pipeline(
            whole, backend,
            policy=own, method=chosen, router=router, image_cache_bytes=image_cache_bytes, reuse_prompts=reuse_prompts,
            drafting=drafting,
        )  # fmt: skip

    drafting = None
    if draft is not None:
        drafting = opened(draft, Drafting, policy=None, method=None, threads=threads, provider=provider, verify=verify)
    try:
        return opened(bundle, made, policy=policy, method=method, threads=threads, provider=provider, verify=verify)
    except BaseException:
        if drafting is not None:
            drafting.close()
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
        drafting: Drafting | None = None,
    ) -> None:
        self.bundle, self._drafting = bundle, drafting
        self._turns = Turns()
        self._manner = Manner(bundle, policy, method, router)
        self._steps = Steps(bundle, backend, image_cache_bytes=image_cache_bytes, reuse_prompts=reuse_prompts)
        if drafting is not None:
            drafting.check(bundle, self._steps.prompts.tokenizer)

    @property
    def policy(self) -> Policy:
        """What says which layers, and how many pivots, a category has."""
        return self._manner.policy

    @property
    def method(self) -> Method:
        """What chooses the visual tokens that stay."""
        return self._manner.method

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
        other._manner = self._manner.variant(policy, method)
        return other

    def encode(self, image: ImageSource, *, several: bool = False) -> Encoded:
        """Runs the vision graph on ``image``: requests that are given the result need not run it again.

        The result serves this pipeline and its variants, in requests about this image alone, or with ``several`` about
        others too, which is the same for most models. Raises :class:`clasp_trt.errors.ImageError`.
        """
        timer = Timer()
        with self._turns.between(), memory_for("to encode the picture"):
            return self._steps.eyes.encode(self._steps.eyes.see(image, timer, several=several), timer)

    def generate(
        self,
        image: Pictures,
        prompt: str,
        *,
        video: Video | None = None,
        max_new_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop: Sequence[str] | None = None,
        choices: Sequence[str] | None = None,
        regex: str | None = None,
        json_schema: Mapping[str, Any] | None = None,
        category: str | None = None,
        ignore_stop: bool = False,
        logprobs: bool = False,
        top_logprobs: int = 0,
        cancelled: Callable[[], bool] | None = None,
        lookup: int | None = None,
        draft: int | None = None,
    ) -> Result:
        """Answers ``prompt`` about ``image``, which may be encoded, or a list of several (None: about text alone). See
        :meth:`stream`."""
        return self.stream(
            image, prompt, video=video,
            max_new_tokens=max_new_tokens, sampling=sampling, stop=stop, choices=choices, regex=regex,
            json_schema=json_schema, category=category, ignore_stop=ignore_stop, logprobs=logprobs, cancelled=cancelled,
            lookup=lookup, draft=draft, top_logprobs=top_logprobs,
        ).result  # fmt: skip

    def stream(
        self,
        image: Pictures,
        prompt: str,
        *,
        video: Video | None = None,
        max_new_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop: Sequence[str] | None = None,
        choices: Sequence[str] | None = None,
        regex: str | None = None,
        json_schema: Mapping[str, Any] | None = None,
        category: str | None = None,
        ignore_stop: bool = False,
        logprobs: bool = False,
        top_logprobs: int = 0,
        cancelled: Callable[[], bool] | None = None,
        lookup: int | None = None,
        draft: int | None = None,
    ) -> Answer:
        """Like :meth:`generate`, but the answer comes in pieces as it is made.

        What is None is as the bundle says (``docs/generation.md``): ``max_new_tokens`` (else 256), how tokens are
        chosen (``sampling``), and the strings that ``stop`` an answer. ``choices``, ``regex`` or ``json_schema`` say
        what the whole answer may be. ``category`` overrides the router; with ``ignore_stop`` an answer goes on after a
        stop token or string, so that its length is known beforehand. Nothing is computed before the first piece is
        asked for. With ``logprobs`` each token's log-probability is told, with ``top_logprobs`` also those of so many
        likeliest tokens, 20 at most; ``cancelled`` is asked before each graph of the prompt and before each later step
        whether the answer is to end there. ``lookup`` is how many tokens a step may take over from the text so far, and
        ``draft`` how many from the draft bundle, 0 to 7 (None: 0), which changes no answer (``docs/speculation.md``).
        Images go where ``prompt`` has the image's token, once for each, or else before it, in their order.
        The timings of an encoded image leave out what :meth:`encode` did. A ``video`` is a clip, which
        goes after the images, or where ``prompt`` has its token; bundles that take none refuse it. Raises
        :class:`clasp_trt.errors.ImageError` or :class:`~clasp_trt.errors.PromptError`.
        """
        if not isinstance(prompt, str):
            raise PromptError(f"the prompt is {type(prompt).__name__}, expected a string")
        return self._begin(
            prompt, listed(image), () if video is None else (video,),
            max_new_tokens=max_new_tokens, sampling=sampling, stop=stop, choices=choices, regex=regex,
            json_schema=json_schema, category=category, ignore_stop=ignore_stop, logprobs=logprobs, cancelled=cancelled,
            lookup=lookup, draft=draft, top_logprobs=top_logprobs,
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
        return self._begin(read, read.images, read.clips, **wishes)

    def _begin(
        self, prompt: str | Dialogue, images: Sequence[Picture], clips: Sequence[Video], **wishes: Unpack[Wishes]
    ) -> Answer:
        asked = self._steps.asked(prompt, images, clips, wishes)
        check_drafted(asked.draft, drafts=self._drafting is not None)
        return Answer(self._answer(images, clips, asked), self._turns)

    def route(self, prompt: str) -> Route:
        """The category of a prompt, as a request would see it."""
        self._turns.check()
        return self._manner.route(prompt, None)

    def see(self, image: Image.Image, *, several: bool = False) -> Seen:
        """What the model sees of an image, alone or as one of ``several``, and where each visual token looks; nothing
        is computed of it."""
        return self._steps.eyes.process(image, several=several)

    def load_clip(self, source: ClipSource, *, frames: int | None = None, fps: float = 1.0) -> Clip:
        """The frames that the model takes of a clip, or ``frames`` of them: see
        :func:`clasp_trt.runtime.media.clip.load_clip`. Raises :class:`clasp_trt.errors.ImageError`."""
        return self._steps.eyes.load_clip(source, frames=frames, fps=fps)

    def encode_clip(self, video: ClipSource) -> Shown:
        """Runs the vision graph on each step of a clip: requests that are given the result as their ``video`` need not
        run it again, as with :meth:`encode`."""
        timer = Timer()
        with self._turns.between(), memory_for("to encode the clip"):
            return self._steps.eyes.encode_clip(video, timer)

    def film(self, clip: Clip) -> Filmed:
        """What the model sees of a clip, step by step; nothing is computed of it."""
        return self._steps.eyes.film(clip)

    def _answer(
        self, images: Sequence[Picture], clips: Sequence[Video], asked: Asked
    ) -> Generator[Event, None, Result]:
        draft = self._steps.draft(images, clips, asked, self._manner)
        event = self._begun(draft, images, clips)
        yield event
        while event.finish_reason is None:
            self._turns.check()
            for found in self._steps.go_on([draft])[0]:
                if isinstance(found, ClaspError):
                    raise found
                event = found
                yield event
        return draft.result()

    def _begun(self, draft: Draft, images: Sequence[Picture], clips: Sequence[Video]) -> Event:
        if self._drafting is not None and draft.asked.draft:
            try:
                with draft.timer.step("draft"):
                    draft.proposer = self._drafting.begin(images, clips, draft.asked, self._turns.check)
            except CancelledError:
                return draft.cancel()
        return self._steps.begin(draft, self._turns.check)

    def _release(self) -> None:
        try:
            self._steps.release()
        finally:
            self._manner.close()
            if self._drafting is not None:
                self._drafting.close()
