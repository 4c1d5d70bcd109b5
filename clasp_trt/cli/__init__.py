"""The command line. Commands load what they need when they run, so that ``--help`` is instant and needs no extra."""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import click

import clasp_trt
from clasp_trt.cli.lazy import LazyGroup
from clasp_trt.cli.signals import signals_raise
from clasp_trt.errors import ClaspError

COMMANDS = {
    "build": "Compile a checkpoint or portable bundle for a target.",
    "export": "Export a checkpoint to portable ONNX graphs.",
    "run": "Answer a prompt about images.",
    "chat": "Talk about images, one line a turn.",
    "serve": "Answer chat requests over HTTP, in OpenAI's protocol.",
    "show": "Draw the visual tokens that a prompt keeps.",
    "profile": "Measure latency by stage, and memory.",
    "eval": "Measure accuracy per category and method.",
    "verify": "Check a bundle, and compare it with its checkpoint.",
    "calibrate": "Search a policy on questions with known answers.",
    "inspect": "Show what a bundle holds.",
    "route": "Show the category of a prompt, or of many.",
    "router": "Make a router: train one, label prompts, import a classifier.",
    "plan": "Estimate memory and speed of a model on a target.",
    "targets": "List the devices to build for.",
    "demo": "Build a small model unpruned and pruned, and compare its answers.",
    "doctor": "Tell what is installed here and what that allows.",
}
PROGRAM = "clasp-trt"
MISTAKE = 2

# By these the machine refuses what the program was right to ask: rights, room, limits, broken hardware. Any other error
# of the system, such as a missing file that nobody checked for, is our bug.
_REFUSALS = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG),
        *(errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOLCK),
        *(errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE),
    }
)


class _Commands(LazyGroup):
    """Says every mistake in one line."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: object) -> None:  # type: ignore[override]
        """Runs the command line and exits: 0, 2 for a user's mistake, 128 + its number when a signal stopped it."""
        sys.exit(_exit_code(self, args, prog_name or PROGRAM))


@click.command(
    cls=_Commands,
    home=f"{__name__}.",
    lines=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.version_option(clasp_trt.__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Compile vision-language models with CLASP visual-token pruning, and run them without torch."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _exit_code(group: click.Group, args: Sequence[str] | None, name: str) -> int:
    with signals_raise() as caught, _notices_in_one_line():
        try:
            return int(click.Group.main(group, args, name, standalone_mode=False) or 0)
        except BaseException as error:
            # asked first: a library that a signal hits while it loads may raise something else in its place
            if caught:
                return _fail(_stopped_by(caught[0]), 128 + caught[0])
            if isinstance(error, ClaspError):
                return _fail(str(error), error.exit_code)
            if isinstance(error, click.ClickException):
                return _fail(_usage(error), MISTAKE)
            if _is_shortage(error):
                return _fail(_shortage(error), MISTAKE)
            if isinstance(error, OSError) and error.errno in _REFUSALS:
                return _fail(_refusal(error), MISTAKE)
            raise


@contextmanager
def _notices_in_one_line() -> Iterator[None]:
    """Shows what is told by :mod:`clasp_trt.notice` as a line of its own, without the place in the code."""
    with warnings.catch_warnings():
        shown_before = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            from clasp_trt.brief import shown
            from clasp_trt.notice import Notice

            if issubclass(category, Notice):
                bar = "\r\x1b[K" if sys.stderr.isatty() else ""
                click.echo(f"{bar}warning: {shown(str(message))}", err=True)
            else:
                shown_before(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


def _fail(line: str, code: int) -> int:
    from clasp_trt.brief import shown  # no --help needs it

    click.echo(f"error: {shown(line)}", err=True)
    return code


def _stopped_by(number: int) -> str:
    return "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"


def _usage(error: click.ClickException) -> str:
    """Click's message as one line, and where to read on."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    place = context.command_path if context is not None else PROGRAM
    return f"{message[:1].lower()}{message[1:]}{'' if message.endswith('?') else ';'} see {place} --help"


def _is_shortage(error: BaseException) -> bool:
    """Wherever memory ends, also while a library loads; what is not for want of it is our bug."""
    from clasp_trt.shortage import is_shortage

    return isinstance(error, Exception) and not isinstance(error, OSError) and is_shortage(error)


def _shortage(error: BaseException) -> str:
    from clasp_trt.shortage import shortage

    return str(shortage("to go on", error))


def _refusal(error: OSError) -> str:
    """What the machine refused where nobody expected it."""
    name = "" if error.filename is None else f"{str(error.filename)[:200]}: "
    return " ".join(f"{name}{error.strerror or error}".split())
