"""Groups of commands that load the module of a command when it is called, and not to tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """Finds each command in the module of its name, and says which is meant where none is.

    ``lines`` maps the names, in the order of the help, to the line that the help has of each; ``home`` and a name make
    the name of the module, which has a ``command``.
    """

    def __init__(self, *args: Any, home: str, lines: Mapping[str, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.home, self.lines = home, lines

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lines:
            return None
        command: click.Command = import_module(self.home + cmd_name).command
        command.short_help = self.lines[cmd_name]  # for a shell that completes
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):  # click would ask each command, and so load them all
            formatter.write_dl(list(self.lines.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.lines and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.lines, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(self.lines)}"
            ctx.fail(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)
