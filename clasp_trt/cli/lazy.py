"""Groups of commands that load the module of a command when it is called."""

from __future__ import annotations

import difflib
from importlib import import_module

import click


class LazyGroup(click.Group):
    """Finds each command in the module of its name, and says which is meant where none is.

    ``modules`` maps the names, in the order of the help, to modules that have a ``command``.
    """

    modules: dict[str, str]

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.modules:
            return None
        command: click.Command = import_module(self.modules[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.modules and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.modules, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(self.modules)}"
            ctx.fail(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)
