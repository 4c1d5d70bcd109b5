"""Stop strings: an answer ends with the token that completes one, and its text before the string begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class StopStrings:
    """Watches the tokens of one answer, as transformers' ``StopStringCriteria`` does.

    A string may begin in the prompt, and lie across tokens; special tokens count as they are written. Tokens that may
    be part of one are held back until it is known.
    """

    def __init__(self, strings: Sequence[str], spelling: Callable[[int], bytes], prompt: Sequence[int]) -> None:
        self._strings = [each.encode() for each in strings]
        self._spelling = spelling
        self._before = _end(prompt, spelling, max(map(len, self._strings), default=0))
        self._held: list[int] = []
        self.found = False
        self.rest = ""
        """What the last token said before the string began, once one was found."""

    def push(self, id: int) -> list[int]:
        """Adds a token; returns those that are certain now, which come before any stop string."""
        if not self._strings:
            return [id]
        self._held.append(id)
        pieces = [self._spelling(each) for each in self._held]
        text = self._before + b"".join(pieces)
        last = len(text) - len(pieces[-1])
        begins = [at for each in self._strings if (at := text.find(each, max(0, last - len(each) + 1))) >= 0]
        if begins:
            self.found = True
            return self._release(min(begins), pieces, cut=True)
        return self._release(self._unsure(text), pieces)

    def finish(self) -> list[int]:
        """The tokens that were held back, once no more come."""
        held, self._held = self._held, []
        return held

    def _unsure(self, text: bytes) -> int:
        """From which byte on ``text`` may be the beginning of a string."""
        starts = [
            len(text) - size
            for each in self._strings
            for size in range(min(len(each) - 1, len(text)), 0, -1)
            if text.endswith(each[:size])
        ]
        return min(starts, default=len(text))

    def _release(self, end: int, pieces: Sequence[bytes], *, cut: bool = False) -> list[int]:
        """The tokens that end before byte ``end``. ``cut`` drops the others but for what comes before that byte."""
        place, count = len(self._before), 0
        while count < len(pieces) and place + len(pieces[count]) <= end:
            place += len(pieces[count])
            count += 1
        certain, self._held = self._held[:count], self._held[count:]
        if cut:
            self._held = []
            if count < len(pieces):
                self.rest = pieces[count][: max(0, end - place)].decode(errors="ignore")
        longest = max(map(len, self._strings))
        self._before = (self._before + b"".join(pieces[:count]))[-longest:]
        return certain


def _end(prompt: Sequence[int], spelling: Callable[[int], bytes], size: int) -> bytes:
    """The last ``size`` bytes of a prompt; a token may be spelled by none."""
    found = b""
    for id in reversed(prompt):
        if len(found) >= size:
            break
        found = spelling(id) + found
    return found[-size:] if size else b""
