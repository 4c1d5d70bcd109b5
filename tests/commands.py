"""The command line as the tests see it: its commands, and a line taken apart without running anything."""

from __future__ import annotations

from enum import Enum

import click

from clasp_trt.cli import main

assert isinstance(main, click.Group)
GROUP: click.Group = main


def command_names() -> list[str]:
    """The names of all commands that ``clasp-trt --help`` shows."""
    return GROUP.list_commands(click.Context(GROUP, info_name="clasp-trt"))


def check_line(words: list[str]) -> None:
    """Raises :class:`click.UsageError` when ``words``, what follows ``clasp-trt``, is no line one could run.

    Commands, option names, the number of arguments, required parameters and the words of choices are checked;
    values are not converted and callbacks do not run, so files need not exist.
    """
    command: click.Command = GROUP
    # with the group's own settings: click keeps the help option that the first context makes
    context = click.Context(GROUP, info_name="clasp-trt", **GROUP.context_settings)
    while isinstance(command, click.Group):
        given, words, _ = command.make_parser(context).parse_args(list(words))
        if {"help", "version"} & given.keys():
            return
        if not words:
            raise click.UsageError("a command is missing", context)
        name, command, words = command.resolve_command(context, words)
        if command is None:
            raise click.UsageError(f"no command {name!r}", context)
        context = click.Context(command, info_name=name, parent=context)
    given, words, _ = command.make_parser(context).parse_args(words)
    if "help" in given:
        return
    if words:
        raise click.UsageError(f"unexpected {' '.join(words)!r}", context)
    for parameter in command.params:
        value = given.get(str(parameter.name))
        absent = value in (None, ()) or isinstance(value, Enum)  # click's own mark is a member of an enum
        if parameter.required and absent:
            raise click.UsageError(f"{parameter.get_error_hint(context)} is missing", context)
        if isinstance(parameter.type, click.Choice) and isinstance(value, str):
            parameter.type.convert(value, parameter, context)
