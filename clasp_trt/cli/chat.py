"""``clasp-trt chat``: a conversation, one line a turn."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from clasp_trt.cli.answering import Answering, answering, answering_options
from clasp_trt.cli.answers import answer_json, facts, print_answer
from clasp_trt.cli.examples import examples
from clasp_trt.cli.options import image_options, pictures, provider_option, threads_option
from clasp_trt.cli.output import json_option
from clasp_trt.cli.signals import interrupts_end_a_turn, stop_if_asked
from clasp_trt.errors import ClaspError, PromptError

if TYPE_CHECKING:
    from PIL.Image import Image

    from clasp_trt.runtime.media.clip import Clip
    from clasp_trt.runtime.pipeline import Pipeline

_HELP = (
    "/image PATH shows an image with the next question, /video PATH a clip, /new begins again, /quit or Ctrl-D ends, "
    "Ctrl-C stops an answer"
)
_PROMPT = "> "
_MOST_BYTES = 4 * 2**20  # of a line: more characters than a prompt may have


@click.command(
    "chat",
    epilog=examples(
        "clasp-trt chat bundle --image photo.jpg",
        'clasp-trt chat bundle --image photo.jpg --system "Be brief." --json',
    ),
)
@click.argument("bundle", type=click.Path())
@image_options("the first question is about text alone")
@click.option("--system", help="Instruction that stands before the conversation.")
@answering_options
@click.option("--policy", type=click.Path(), help="Policy file [default: the bundle's own].")
@click.option("--router", type=click.Path(), help="Router folder [default: the bundle's own, or the rules].")
@threads_option
@provider_option
@json_option
def command(
    bundle: str,
    image: tuple[str, ...],
    max_pixels: int | None,
    system: str | None,
    policy: str | None,
    router: str | None,
    threads: int | None,
    provider: str | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Talk with BUNDLE: each line is a question, asked with all that was said before.

    A line /image PATH shows an image with the next question, /video PATH a clip, /new begins again, /quit ends, and //
    begins a question with a slash. Lines of a pipe are read to its end, and the first mistake ends them. With --json
    each answer is an object on a line of its own.
    """
    from clasp_trt.bundle import Bundle
    from clasp_trt.runtime.fitting import check_images, check_proposed
    from clasp_trt.runtime.pipeline import load

    wanted = answering(**chosen)
    opened = Bundle.open(bundle)
    check_images(len(image), opened)
    check_proposed(wanted.proposed, opened)
    shown = pictures(image, max_pixels)
    with load(bundle, policy=policy, router=router, threads=threads, provider=provider, draft=wanted.draft) as pipeline:
        stop_if_asked()
        talk = _Talk(pipeline, wanted, system, shown, max_pixels, as_json)
        if sys.stdin.isatty() and sys.stdout.isatty() and not as_json:
            _by_hand(talk)
        else:
            _from_pipe(talk)


class _Talk:
    """Takes line by line."""

    def __init__(
        self,
        pipeline: Pipeline,
        wanted: Answering,
        system: str | None,
        shown: list[Image],
        max_pixels: int | None,
        as_json: bool,
    ) -> None:
        self._pipeline, self._wanted, self._system = pipeline, wanted, system
        self._shown, self._max_pixels, self._as_json = shown, max_pixels, as_json
        self._clip: Clip | None = None
        self._begin()

    def take(self, line: str) -> str | None:
        """Does what the line says: asks, or follows a command. Returns what there is to tell of it, None at the end.
        Raises a :class:`ClaspError`, and then the conversation stands where it stood."""
        line = line.strip()
        if not line.startswith("/") or line.startswith("//"):
            return self._ask(line.removeprefix("/")) if line else ""
        name, _, rest = line.partition(" ")
        if name == "/image" and rest.strip():
            self._shown += pictures([rest.strip()], self._max_pixels)
            return f"images for the next question: {len(self._shown)}"
        if name == "/video" and rest.strip():
            self._clip = self._pipeline.load_clip(rest.strip())
            return f"a clip for the next question: {len(self._clip.frames)} frames"
        if name == "/new" and not rest:
            self._shown.clear()
            self._clip = None
            self._begin()
            return "a new conversation"
        if name == "/quit" and not rest:
            return None
        raise PromptError(
            f"{line[:60]!r} is no command; expected /image PATH, /video PATH, /new or /quit (// begins a question)"
        )

    def _begin(self) -> None:
        from clasp_trt.runtime.conversation import Conversation

        self._conversation = Conversation(self._pipeline, system=self._system)

    def _ask(self, text: str) -> str:
        answer = self._conversation.ask(text, *self._shown, video=self._clip, **self._wanted.wishes)
        result = answer.result if self._as_json else print_answer(answer)
        self._shown.clear()  # they are in the conversation now
        self._clip = None
        if self._as_json:
            click.echo(json.dumps(answer_json(result), ensure_ascii=False, allow_nan=False))
        return facts(result)


def _by_hand(talk: _Talk) -> None:
    """In a terminal mistakes are told and the conversation goes on; an interrupt ends a turn, an end of file all."""
    with suppress(ImportError):
        import readline  # noqa: F401  lines can then be edited
    click.echo(_HELP, err=True)
    with interrupts_end_a_turn():
        while True:
            try:
                told = talk.take(input(_PROMPT))
            except KeyboardInterrupt:
                click.echo("\ninterrupted; /quit ends", err=True)
            except EOFError:
                click.echo()
                return
            except UnicodeDecodeError:
                click.echo("error: the line is not valid UTF-8", err=True)
            except ClaspError as error:
                click.echo(f"error: {error}", err=True)
            else:
                if told is None:
                    return
                if told:
                    click.echo(told, err=True)


def _from_pipe(talk: _Talk) -> None:
    """Quiet but for the answers."""
    stream, number = sys.stdin.buffer, 0
    while data := stream.readline(_MOST_BYTES + 1):
        number += 1
        if len(data) > _MOST_BYTES:
            raise PromptError(f"line {number} has over {_MOST_BYTES} bytes; ask something shorter")
        try:
            line = data.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise PromptError(f"line {number} is not valid UTF-8; expected a question on each line") from None
        if talk.take(line) is None:
            return
