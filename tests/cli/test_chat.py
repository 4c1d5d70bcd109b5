"""``clasp-trt chat``: a pipe is quiet and strict; in a terminal mistakes and interrupts end no conversation."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.cli import chat
from clasp_trt.runtime.pipeline import load
from tests.cli.conftest import Clasp, Done, Refused
from tests.mistakes import says

COUNT, COLOUR = "How many cups are there?", "What colour is the cup?"
PATIENCE_S = 60.0
Talk = Callable[..., Done]


@pytest.fixture(scope="module")
def several(built: Callable[..., Bundle]) -> Path:
    return built(max_images=2, budget="1/3", max_context=160).root


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Puts bytes on standard input."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def lines(*said: str) -> bytes:
    return "".join(f"{line}\n" for line in said).encode()


def told(done: Done) -> list[dict[str, Any]]:
    assert (done.code, done.err) == (0, "")
    return [json.loads(line) for line in done.out.splitlines()]


def test_each_line_is_asked_with_all_that_was_said(
    clasp: Clasp, given: Callable[[bytes], None], several: Path, photo: Path
) -> None:
    given(lines(COUNT, "", COLOUR))
    found = told(clasp("chat", several, "--image", photo, "--max-new-tokens", "4", "--json", "--system", "Be brief."))
    with load(several) as pipeline:
        talk: list[dict[str, Any]] = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "image", "path": photo}, {"type": "text", "text": COUNT}]},
        ]
        first = pipeline.chat(talk, max_new_tokens=4)
        talk += [{"role": "assistant", "content": first.text}, {"role": "user", "content": COLOUR}]
        second = pipeline.chat(talk, max_new_tokens=4)
    assert [each["text"] for each in found] == [first.text, second.text]
    assert [each["prompt_tokens"] for each in found] == [first.prompt_tokens, second.prompt_tokens]
    assert [each["reused_images"] for each in found] == [0, 1]


def test_commands(clasp: Clasp, given: Callable[[bytes], None], several: Path, photo: Path) -> None:
    given(lines(COUNT, f"/image {photo}", COLOUR, "/new", COUNT, "// what?", "/quit", "never asked"))
    found = told(clasp("chat", several, "--max-new-tokens", "2", "--json"))
    assert [each["visual_tokens"] for each in found] == [0, 16, 0, 0]
    assert found[2]["prompt_tokens"] == found[0]["prompt_tokens"] < found[3]["prompt_tokens"]


def test_plain_answers_alone_go_to_a_pipe(clasp: Clasp, given: Callable[[bytes], None], several: Path) -> None:
    given(lines("Hello.", "Go on.")[:-1])
    done = clasp("chat", several, "--max-new-tokens", "3")
    with load(several) as pipeline:
        first = pipeline.generate(None, "Hello.", max_new_tokens=3)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{first.text}\n")


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        (lines("/imagine a.png"), ("'/imagine a.png'", "/image PATH", "/new")),
        (lines("/image"), ("'/image'", "/image PATH")),
        (lines("/image nowhere.png"), ("nowhere.png",)),
        (b"What is \xff?\n", ("line 1", "UTF-8")),
        (b"x" * (chat._MOST_BYTES + 2), ("line 1", chat._MOST_BYTES)),
    ],
)
def test_the_first_mistake_ends_a_pipe(
    refused: Refused, given: Callable[[bytes], None], several: Path, data: bytes, facts: tuple[object, ...]
) -> None:
    given(data)
    says(refused("chat", several), *facts)


def test_what_was_answered_stays_answered(
    clasp: Clasp, given: Callable[[bytes], None], several: Path, photo: Path
) -> None:
    given(lines(COUNT, *[f"/image {photo}"] * 3, COLOUR))
    done = clasp("chat", several, "--max-new-tokens", "2", "--json")
    assert (done.code, len(done.out.splitlines())) == (2, 1)
    says(done.err, "3 images", "--max-images 3")


# --- a terminal ---------------------------------------------------------------------------------------------


class Terminal:
    """A command in a terminal, and what it wrote there."""

    def __init__(self, *words: str | Path, env: dict[str, str]) -> None:
        self._side, other = pty.openpty()
        line = [sys.executable, "-m", "clasp_trt", *map(str, words)]
        self.process = subprocess.Popen(
            line, stdin=other, stdout=other, stderr=other, env={**env, "TERM": "dumb"}, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        os.close(other)
        self._seen = ""

    def wait_for(self, pattern: str, patience_s: float = PATIENCE_S) -> str:
        """What came up to ``pattern``, which is taken off."""
        until = time.monotonic() + patience_s
        while not (found := re.search(pattern, self._seen)):
            if not select.select([self._side], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError(self._seen)
            try:
                self._seen += os.read(self._side, 4096).decode()
            except OSError:  # the other end was closed
                assert re.search(pattern, self._seen), self._seen
        before, self._seen = self._seen[: found.end()], self._seen[found.end() :]
        return before

    def type(self, text: str) -> None:
        os.write(self._side, text.encode())

    def interrupt(self, pattern: str) -> None:
        """Ctrl-C, and again where nothing comes of it: Python does not see one that arrives between the prompt and the
        wait for a line before that line is there."""
        for _ in range(int(PATIENCE_S)):
            self.process.send_signal(signal.SIGINT)
            with suppress(TimeoutError):
                self.wait_for(pattern, 1.0)
                return
        raise TimeoutError(self._seen)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._side)


@pytest.fixture
def terminal(several: Path, shell: dict[str, str]) -> Iterator[Terminal]:
    made = Terminal("chat", several, "--max-new-tokens", "60", env=shell)
    yield made
    made.close()


def test_in_a_terminal(terminal: Terminal, photo: Path) -> None:
    terminal.wait_for("/quit.*\r?\n> ")
    terminal.type("/nonsense\n")
    terminal.wait_for("error: .*/nonsense.*\r?\n> ")
    terminal.type(f"/image {photo}\n")
    terminal.wait_for("next question: 1\r?\n> ")
    terminal.type(f"{COUNT}\n")
    terminal.wait_for(r"\[counting\] 16 visual tokens.*TTFT.*\r?\n> ")
    terminal.interrupt("interrupted.*\r?\n> ")
    terminal.type("\x04")
    assert terminal.process.wait(PATIENCE_S) == 0


def test_an_interrupt_stops_an_answer_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], several: Path
) -> None:
    """It comes between two pieces; the question is forgotten with its answer."""
    said = iter(["Hello.", "Again.", "/quit"])
    with load(several) as pipeline:
        talk = chat._Talk(pipeline, chat.answering(**NOTHING), None, [], None, False)
        real, calls = chat.print_answer, list[int]()

        def stopped(answer: Any) -> Any:
            calls.append(1)
            if len(calls) == 1:
                next(answer)
                raise KeyboardInterrupt
            return real(answer)

        monkeypatch.setattr(chat, "print_answer", stopped)
        monkeypatch.setattr("builtins.input", lambda prompt: next(said))
        chat._by_hand(talk)
    assert [each["content"][-1]["text"] for each in talk._conversation.messages if each["role"] == "user"] == ["Again."]
    assert "interrupted" in capfd.readouterr().err


NOTHING: dict[str, Any] = {
    "max_new_tokens": 4, "stop": (), "choices": None, "regex": None, "json_schema": None, "temperature": None,
    "top_p": None, "top_k": None, "min_p": None, "seed": None, "repetition_penalty": None,
    "no_repeat_ngram_size": None, "lookup": 0, "draft": None, "draft_tokens": 4,
}  # fmt: skip
