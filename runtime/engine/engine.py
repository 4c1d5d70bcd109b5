"""Continuous batching: requests join between two tokens of the others, and leave as soon as they are answered."""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any

from PIL import Image

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError, BusyError, ClaspError, PromptError, RequestError, ShortageError
from clasp_trt.methods import Method, get
from clasp_trt.policy import Policy
from clasp_trt.runtime.backends.interface import Backend
from clasp_trt.runtime.encoded import Picture, Pictures, listed
from clasp_trt.runtime.engine.request import Request
from clasp_trt.runtime.event import Event
from clasp_trt.runtime.feature_cache import DEFAULT_BYTES
from clasp_trt.runtime.fitting import check_drafted, check_slots
from clasp_trt.runtime.manner import Manner
from clasp_trt.runtime.media.clip import ClipSource
from clasp_trt.runtime.media.seen import Seen
from clasp_trt.runtime.opening import opened
from clasp_trt.runtime.routing.router import Router
from clasp_trt.runtime.sampling import OverflowedError
from clasp_trt.runtime.steps import Steps
from clasp_trt.runtime.text.messages import Dialogue, dialogue
from clasp_trt.runtime.text.spelling import Spelling
from clasp_trt.runtime.wishes import Wishes
from clasp_trt.shortage import memory_for

if TYPE_CHECKING:
    from typing_extensions import Unpack

DEFAULT_QUEUE = 64
"""Requests that may wait for a slot, unless told otherwise."""


def open_engine(
    bundle: str | PathLike[str],
    *,
    slots: int | None = None,
    queue: int = DEFAULT_QUEUE,
    policy: str | PathLike[str] | None = None,
    method: str | None = None,
    router: str | PathLike[str] | Router | None = None,
    threads: int | None = None,
    provider: str | None = None,
    verify: bool = False,
    image_cache_bytes: int = DEFAULT_BYTES,
    reuse_prompts: bool = True,
) -> Engine:
    """Opens a bundle for many requests at once, as :func:`clasp_trt.load` does for one.

    ``slots`` is how many are answered together (default: what the bundle was built for); by ONNX Runtime on the CPU
    any number, else at most that of the build. ``queue`` more may wait. Raises a :class:`clasp_trt.errors.ClaspError`.
    """

    def made(whole: Bundle, backend: Backend[Any], own: Policy | None, chosen: Method | None) -> Engine:
        return Engine(
            whole, backend, slots=slots, queue=queue, policy=own, method=chosen, router=router,
            image_cache_bytes=image_cache_bytes, reuse_prompts=reuse_prompts,
        )  # fmt: skip

    return opened(bundle, made, policy=policy, method=method, threads=threads, provider=provider, verify=verify)


class ClosedError(Exception):
    """Ends what the worker does once the engine is closed; it never leaves the engine."""


class Engine:
    """Answers requests of any threads, ``slots`` at a time, each as if it were alone.

    One thread computes: between two tokens of those that have a slot it takes one request that waits, if a slot is
    free, and then all go on together. What the host does before the first graph is done by the thread that asks.
    A request that is wrong, or that overflows, fails alone; when the backend fails, all do, and the engine is closed.
    Close it, or use it as a context, or it lives as long as the process.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend[Any],
        *,
        slots: int | None = None,
        queue: int = DEFAULT_QUEUE,
        policy: Policy | None = None,
        method: Method | None = None,
        router: str | PathLike[str] | Router | None = None,
        image_cache_bytes: int = 0,
        reuse_prompts: bool = False,
    ) -> None:
        if type(queue) is not int or queue < 0:
            raise RequestError(f"queue is {queue!r}; expected how many requests may wait, a whole number, 0 or more")
        self.bundle, self.slots, self.queue = bundle, check_slots(slots, bundle, backend), queue
        self._manner = Manner(bundle, policy, method, router)
        self._steps = Steps(
            bundle, backend, slots=self.slots, image_cache_bytes=image_cache_bytes, reuse_prompts=reuse_prompts
        )
        self._preparing = threading.Lock()  # the host's part of one request at a time
        self._changed = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._live: list[Request] = []
        self._taken = 0  # that are prepared, wait or have a slot
        self._closing = self._finishing = False
        self._why = "it was closed"
        self._failure: BaseException | None = None
        self._beat = time.monotonic()
        self._reading_since: float | None = None
        self._thread = threading.Thread(target=self._work, name="clasp-trt engine", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # a thread that computes does not outlive what it computes with

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(
        self,
        image: Pictures,
        prompt: str,
        *,
        video: ClipSource | None = None,
        method: str | None = None,
        **wishes: Unpack[Wishes],
    ) -> Request:
        """Takes a request, as :meth:`clasp_trt.runtime.pipeline.Pipeline.stream` does, and returns at once; ``method``
        is that of the engine unless it is named.

        Raises :class:`BusyError` where as many wait as may, :class:`BackendError` once the engine is closed, and what
        ``stream`` raises for a request that is wrong.
        """
        if not isinstance(prompt, str):
            raise PromptError(f"the prompt is {type(prompt).__name__}, expected a string")
        return self._submit(prompt, listed(image), () if video is None else (video,), method, wishes)

    def submit_chat(
        self, messages: Sequence[Mapping[str, Any]], *, method: str | None = None, **wishes: Unpack[Wishes]
    ) -> Request:
        """The same for a conversation: see :meth:`clasp_trt.runtime.pipeline.Pipeline.stream_chat`."""
        read = dialogue(messages)
        return self._submit(read, read.images, read.clips, method, wishes)

    @property
    def waiting(self) -> int:
        """Requests that wait for a slot."""
        return len(self._waiting)

    @property
    def answering(self) -> int:
        """Requests that have a slot."""
        return len(self._live)

    @property
    def silent_s(self) -> float:
        """Seconds since the last sign of life, which is a graph of a prompt or a token, while there is something to do;
        0 where there is not. Also what the host takes to read one request is counted."""
        beat = self._beat if self._waiting or self._live else None
        since = [when for when in (beat, self._reading_since) if when is not None]
        return max(0.0, time.monotonic() - min(since)) if since else 0.0

    @property
    def failure(self) -> BaseException | None:
        """What ended the engine, if that was not :meth:`close`: nothing is answered any more."""
        return self._failure

    @property
    def manner(self) -> Manner:
        """By which policy and method answers are made unless a request says otherwise."""
        return self._manner

    @property
    def spelling(self) -> Spelling:
        """The bytes of each token."""
        return self._steps.prompts.tokenizer.spelling

    def see(self, image: Image.Image, *, several: bool = False) -> Seen:
        """What the model sees of an image, as :meth:`clasp_trt.runtime.pipeline.Pipeline.see` tells it."""
        return self._steps.eyes.process(image, several=several)

    def close(self, *, finish: bool = False) -> None:
        """Takes no more requests, ends all in a :class:`RequestError`, or with ``finish`` answers them first, and gives
        back what the bundle holds. Returns when that is done; a second call waits for the same, and one without
        ``finish`` ends what another still answers."""
        with self._changed:
            self._finishing = finish and (self._finishing or not self._closing)
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        atexit.unregister(self.close)

    # --- in the threads that ask ----------------------------------------------------------------------------

    def _submit(
        self,
        prompt: str | Dialogue,
        images: Sequence[Picture],
        clips: Sequence[ClipSource],
        method: str | None,
        wishes: Mapping[str, Any],
    ) -> Request:
        manner = self._manner if method is None else self._manner.variant(method=get(method))
        request = Request(self._steps.asked(prompt, images, clips, wishes))
        check_drafted(request.asked.draft, drafts=False)
        self._reserve()
        try:
            with self._preparing, memory_for("to read the request"):
                self._check_open()
                self._reading_since = time.monotonic()
                try:
                    draft = self._steps.draft(images, clips, request.asked, manner)
                finally:
                    self._reading_since = None
            with self._changed:
                self._check_open()
                request.wait(draft)
                if not self._waiting and not self._live:
                    self._beat = time.monotonic()  # it had nothing to do
                self._waiting.append(request)
                self._changed.notify_all()
        except BaseException:
            self._give_back()
            raise
        return request

    def _reserve(self) -> None:
        with self._changed:
            self._check_open()
            if self._taken >= self.slots + self.queue:
                raise BusyError(
                    f"{self.slots} requests are answered and {self.queue} wait, as many as may; ask again later"
                )
            self._taken += 1

    def _give_back(self) -> None:
        with self._changed:
            self._taken -= 1

    def _check_open(self) -> None:
        if self._closing:
            raise BackendError(f"the engine takes no more requests: {self._why}; open the bundle again")

    # --- in the thread that computes ------------------------------------------------------------------------

    def _work(self) -> None:
        failure: BaseException | None = None
        try:
            while True:
                self._beat = time.monotonic()
                if (joining := self._next()) is not None:
                    self._begin(joining)
                self._sweep()
                if self._live:
                    self._go_on()
        except ClosedError:
            pass
        except ClaspError as error:
            failure = error
        except BaseException as error:  # our own mistake: those who wait hear of it, and its trace is shown
            failure = error
            raise
        finally:
            self._end(failure)

    def _next(self) -> Request | None:
        """The request that begins now, if one waits and a slot is free; waits where there is nothing to do. Raises
        :class:`ClosedError` at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._waiting or self._live)
            if self._closing and not (self._finishing and (self._waiting or self._live)):
                raise ClosedError
            if not self._waiting or len(self._live) == self.slots:
                return None
            self._live.append(self._waiting.popleft())
            return self._live[-1]

    def _begin(self, request: Request) -> None:
        request.begin()
        try:
            with memory_for("to answer"):
                event = self._steps.begin(request.draft, self._go)
        except (OverflowedError, ShortageError) as error:  # of this request alone
            self._tell(request, error)
        except BackendError:
            raise
        except ClaspError as error:
            self._tell(request, error)
        else:
            self._tell(request, event)

    def _sweep(self) -> None:
        """Lets go those that nobody waits for any more, though they wait for a slot."""
        for request in list(self._waiting):
            if request.asked.cancelled():
                with self._changed:
                    self._waiting.remove(request)
                    self._live.append(request)
                self._tell(request, request.draft.cancel())

    def _go_on(self) -> None:
        live = list(self._live)
        with memory_for("to answer"):
            found = self._steps.go_on([request.draft for request in live])
        for request, events in zip(live, found, strict=True):
            for event in events:
                self._tell(request, event)

    def _tell(self, request: Request, found: Event | ClaspError) -> None:
        """Hands on what became of a request that has a slot, and forgets it with its end."""
        if isinstance(found, Event):
            request.tell(found)
        else:
            request.fail(found)
        if request.finished:
            with self._changed:
                self._live.remove(request)
                self._taken -= 1

    def _go(self) -> None:
        self._beat = time.monotonic()
        if self._closing and not self._finishing:
            raise ClosedError

    def _end(self, failure: BaseException | None) -> None:
        """Nothing is computed any more, by ``failure`` if there was one."""
        with self._changed:
            self._closing, self._finishing = True, False
            if failure is not None:
                self._failure = failure
                self._why = f"it ended by {type(failure).__name__}: {failure}"
            left = (*self._live, *self._waiting)
            self._live.clear()
            self._waiting.clear()
        with self._preparing, suppress(ClaspError):  # of a device that is lost
            try:
                self._steps.release()
            finally:
                self._manner.close()
        for request in left:
            request.fail(self._last_word(failure))

    def _last_word(self, failure: BaseException | None) -> ClaspError:
        if failure is None:
            return RequestError("the engine was closed before the answer was whole; ask again")
        error = BackendError(f"the engine {self._why}; open the bundle again")
        error.__cause__ = failure
        return error
