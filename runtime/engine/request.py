"""A request that an engine took, as its asker holds it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from clasp_trt.runtime.asked import Asked
from clasp_trt.runtime.draft import Draft
from clasp_trt.runtime.event import Event
from clasp_trt.runtime.result import Result


class Request:
    """Iterate for events, each of which is there as soon as its token is; :attr:`result` has the whole.

    Any thread may do either, also several: each iteration begins with the first event, and the engine goes on whether
    or not anybody looks. A coroutine iterates with ``async for``, which keeps no thread waiting.
    """

    def __init__(self, asked: Asked) -> None:
        self._own, self._cancelled = asked.cancelled, False
        self.asked = replace(asked, cancelled=self.is_cancelled)
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._draft: Draft | None = None
        self._queued = 0.0
        self._begun = False
        self._followers: list[Callable[[], None]] = []

    def __iter__(self) -> Iterator[Event]:
        """Waits for each event. Raises what ended the request before its answer was whole: a
        :class:`clasp_trt.errors.ClaspError`."""
        seen = 0
        while (event := self._event(seen)) is not None:
            seen += 1
            yield event

    async def __aiter__(self) -> AsyncGenerator[Event, None]:
        """The same in a running event loop of :mod:`asyncio`: the thread that computes wakes it."""
        loop, news, seen = asyncio.get_running_loop(), asyncio.Event(), 0

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(news.set)

        with self._changed:
            self._followers.append(wake)
        try:
            while True:
                news.clear()
                with self._changed:
                    found, over = self._events[seen:], self.finished
                for event in found:
                    yield event
                seen += len(found)
                if over:
                    break
                await news.wait()
        finally:
            with self._changed:
                self._followers.remove(wake)
        if self._error is not None:
            raise self._error

    @property
    def begun(self) -> bool:
        """Whether it had a slot, or came to its end without one."""
        return self._begun or self.finished

    @property
    def finished(self) -> bool:
        """Whether it came to an end, good or bad."""
        return self._result is not None or self._error is not None

    @property
    def result(self) -> Result:
        """The answer, once it is whole or cancelled. Raises as iterating does."""
        with self._changed:
            self._changed.wait_for(lambda: self.finished)
        if self._result is None:
            assert self._error is not None
            raise self._error
        return self._result

    def cancel(self) -> None:
        """Ends the answer before its next token or graph; an answer that is whole stays as it is."""
        self._cancelled = True

    def is_cancelled(self) -> bool:
        """Whether somebody wants no more of it; an error of the function that was given for this ends it too."""
        try:
            return self._cancelled or self._own()
        except Exception as error:
            self._error, self._cancelled = error, True
            return True

    # --- for the engine -------------------------------------------------------------------------------------

    @property
    def draft(self) -> Draft:
        """What was prepared of it, until it ends."""
        assert self._draft is not None, "it was prepared, and goes on"
        return self._draft

    def wait(self, draft: Draft) -> None:
        """It is prepared as ``draft``, and waits."""
        self._draft, self._queued = draft, time.perf_counter()

    def begin(self) -> None:
        """It waits no more."""
        self._begun = True
        self.draft.timer.note("queued", self._queued)

    def tell(self, event: Event) -> None:
        """Says what is new, the end as well; afterwards nothing is."""
        with self._changed:
            if event.finish_reason is not None and self._error is None:
                self._result = self.draft.result()
            self._events.append(event)
            self._let_go()

    def fail(self, error: BaseException) -> None:
        """Ends it by ``error``."""
        with self._changed:
            self._error = error
            self._let_go()

    def _let_go(self) -> None:
        if self.finished:
            self._draft = None  # with its pictures
        self._changed.notify_all()
        for wake in self._followers:
            wake()

    def _event(self, number: int) -> Event | None:
        with self._changed:
            self._changed.wait_for(lambda: number < len(self._events) or self.finished)
            if number < len(self._events):
                return self._events[number]
        if self._error is not None:
            raise self._error
        return None
