"""A running request, as its caller holds it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress

from clasp_trt.errors import BackendError, RequestError
from clasp_trt.runtime.event import Event
from clasp_trt.runtime.result import Result
from clasp_trt.runtime.turns import Turns
from clasp_trt.shortage import memory_for


class Answer(Iterator[str]):
    """Iterate for pieces of text, or :meth:`events` for every token; afterwards :attr:`result` has the whole. Any
    thread may ask, one after another."""

    def __init__(self, steps: Generator[Event, None, Result], turns: Turns) -> None:
        self._steps, self._turns = steps, turns
        self.begun = self.ended = False
        self._result: Result | None = None

    def __next__(self) -> str:
        """The next piece that is not empty. Waits while another thread's answer is made. Raises :class:`RequestError`
        if another request took over before this one was finished, and what :meth:`Pipeline.generate` raises."""
        return next(event.text for event in self.events() if event.text)

    def events(self) -> Iterator[Event]:
        """What comes from here on, an event a token, also those without text. Raises as iterating does."""
        while (event := self._next()) is not None:
            yield event

    def _next(self) -> Event | None:
        if self.ended:
            return None
        with self._turns.of(self):
            if not self.ended:  # by another thread that asked for the same piece
                self.begun = True
                try:
                    with memory_for("to answer"):
                        return next(self._steps)
                except StopIteration as stop:
                    self._result = stop.value
                    self._end()
                except BaseException:
                    self._end()
                    raise
        return None

    @property
    def finished(self) -> bool:
        """Whether it was made to its end."""
        return self._result is not None

    @property
    def result(self) -> Result:
        """The finished answer; whatever was not iterated yet is generated first. Raises :class:`RequestError` if an
        error or :meth:`close` ended it before."""
        for _ in self.events():
            pass
        if self._result is None:
            raise RequestError("the request was interrupted and has no result; ask again")
        return self._result

    def close(self) -> None:
        """Ends an answer of which no more is wanted, so that nobody waits for it."""
        if not self.ended:
            with suppress(BackendError), self._turns.between():
                self._steps.close()
            self._end()

    def _end(self) -> None:
        self.ended = True
        self._turns.over(self)
