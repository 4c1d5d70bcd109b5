"""One request from its admission to its end, with its deadlines, and with an eye on whether anybody still waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple, TypeVar

from PIL import Image

from clasp_trt.errors import ClaspError, MethodError
from clasp_trt.runtime.engine import Request
from clasp_trt.runtime.event import Event
from clasp_trt.runtime.result import Result
from clasp_trt.runtime.serving import problem
from clasp_trt.runtime.serving.fetching import Fetcher
from clasp_trt.runtime.serving.house import Served
from clasp_trt.runtime.serving.life import Life
from clasp_trt.runtime.serving.pictures import Shown, decoded, encoded, messages, shown
from clasp_trt.runtime.serving.problem import Problem
from clasp_trt.runtime.serving.settings import Settings
from clasp_trt.runtime.serving.wire import ChatRequest
from clasp_trt.runtime.serving.wishes import FORMS, wishes
from clasp_trt.runtime.wishes import Wishes

T = TypeVar("T")


class Pools(NamedTuple):
    """Threads that read requests, threads that fetch pictures, and how these are fetched."""

    reading: Executor
    fetching: Executor
    fetcher: Fetcher


Receive = Callable[[], Awaitable[Any]]


class Call:
    """Asks ``served`` what was asked: :meth:`begin` waits for the first event, :meth:`rest` gives those that follow.
    Both raise :class:`Problem`, and ask the engine for no more when they do. :meth:`close` it in the end."""

    def __init__(self, asked: ChatRequest, served: Served, settings: Settings, life: Life, receive: Receive) -> None:
        self._asked, self._served, self._settings, self._life = asked, served, settings, life
        self._wishes = wishes(asked, served, settings)
        self._start = time.monotonic()
        self._over = False
        self._stopped: asyncio.Future[Problem] = asyncio.get_running_loop().create_future()
        self._watch = asyncio.ensure_future(self._until_gone(receive))
        life.follow(self._stop)
        self._coming: asyncio.Future[Event] | None = None
        self._events: AsyncGenerator[Event, None] | None = None
        self.pictures: list[Image.Image] = []
        self.request: Request | None = None

    async def begin(self, pools: Pools) -> Event:
        """Fetches and reads pictures, hands the request to the engine, and waits for its first event."""
        links = list(shown(self._asked))
        loop = asyncio.get_running_loop()
        data = {each.place: encoded(each, self._settings) for each in links if each.here}
        for each in links:
            if not each.here:
                fetching = loop.run_in_executor(pools.fetching, pools.fetcher.fetch, each.link.url, each.place)
                data[each.place] = await self._within(fetching)
        self.request = await self._within(loop.run_in_executor(pools.reading, self._submit, links, data))
        self._events = self.request.__aiter__()
        return await self._next(self._events)

    async def rest(self) -> AsyncGenerator[Event, None]:
        """The events after the first one."""
        assert self._events is not None, "it has begun"
        try:
            while True:
                yield await self._next(self._events)
        except StopAsyncIteration:
            return

    @property
    def seconds(self) -> float:
        """Since the request came."""
        return time.monotonic() - self._start

    @property
    def result(self) -> Result:
        """The answer, once it is whole."""
        assert self.request is not None, "it has begun"
        return self.request.result

    async def close(self) -> None:
        """Nobody waits any more: what still runs is ended."""
        self._over = True
        self._watch.cancel()
        self._life.forget(self._stop)
        if self._coming is not None:
            await _cancelled(self._coming)
        if self._events is not None:
            await self._events.aclose()

    # --- in another thread ----------------------------------------------------------------------------------

    def _submit(self, links: list[Shown], data: dict[str, bytes]) -> Request:
        """Decodes what was sent and has the engine take the request."""
        engine, extras = self._served.engine, self._asked.clasp
        clips = engine.bundle.manifest.media.video
        sampling = None if clips is None else clips.sampling
        read = {}
        for each in links:
            if self._over:
                raise problem.gone()
            read[each.place] = decoded(each, data.pop(each.place), self._settings, sampling)
        if extras.picture:
            self.pictures = [each for each in read.values() if isinstance(each, Image.Image)]
        self._wishes["cancelled"] = lambda: self._over
        try:
            return engine.submit_chat(messages(self._asked, read), method=extras.method, **self._wishes)
        except ClaspError as error:
            raise problem.of(error, _param(error, self._wishes)) from error

    # --- in the loop ----------------------------------------------------------------------------------------

    async def _next(self, events: AsyncGenerator[Event, None]) -> Event:
        try:
            self._coming = asyncio.ensure_future(events.__anext__())
            return await self._within(self._coming)
        except ClaspError as error:
            raise problem.of(error) from error

    async def _within(self, coming: asyncio.Future[T]) -> T:
        """What comes, if it does so in time and somebody waits for it."""
        coming.add_done_callback(_swallow)
        while True:
            limit, late = self._deadline()
            if limit <= 0:
                return await self._give_up(coming, late)
            both: set[asyncio.Future[Any]] = {coming, self._stopped}
            await asyncio.wait(both, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if self._stopped.done():  # asked first: an engine that was told so has a last word too
                return await self._give_up(coming, self._stopped.result())
            if coming.done():
                return coming.result()

    def _deadline(self) -> tuple[float, Problem]:
        """Seconds until the request must be further than it is, and what is said if it is not."""
        passed, bounds = self.seconds, self._settings
        whole = bounds.request_timeout - passed, problem.late(bounds.request_timeout)
        if self.request is not None and self.request.begun:
            return whole
        return min(
            (bounds.queue_timeout - passed, problem.waited(bounds.queue_timeout)), whole, key=lambda each: each[0]
        )

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._stop(problem.gone())

    def _stop(self, why: Problem) -> None:
        self._over = True
        if not self._stopped.done():
            self._stopped.set_result(why)

    async def _give_up(self, coming: asyncio.Future[T], why: Problem) -> T:
        self._over = True
        await _cancelled(coming)
        raise why


async def _cancelled(coming: asyncio.Future[Any]) -> None:
    coming.cancel()
    await asyncio.wait({coming})


def _swallow(future: asyncio.Future[Any]) -> None:
    """What nobody waits for may fail."""
    if not future.cancelled():
        future.exception()


def _param(error: ClaspError, wished: Wishes) -> str:
    """The field that an error of the runtime is about: what it says begins with the keyword, or it is the prompt."""
    if isinstance(error, MethodError):
        return "clasp.method"
    said = str(error).partition(" ")[0]
    return next((field for keyword, field in FORMS.items() if keyword in wished and keyword == said), "messages")
