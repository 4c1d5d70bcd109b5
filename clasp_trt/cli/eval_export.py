"""``clasp-trt eval --export``: questions for evaluation harnesses, which ask them of a server."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from clasp_trt.cli.output import print_json, progress_bar

FORMATS = ("tsv", "jsonl")


def export_questions(
    form: str,
    data: str,
    output: str | None,
    bundle: str | None,
    refused: Mapping[str, object],
    *,
    limit: int | None,
    max_new_tokens: int,
    as_json: bool,
) -> None:
    """Writes the questions of ``data`` in ``form``, one of ``FORMATS``, and tells which files there are.

    ``refused`` are the values of options that mean nothing here, by the option. With a ``bundle``, its policy must have
    the categories of the rows.
    """
    from clasp_trt.bundle import Bundle
    from clasp_trt.storage.apart import keep_apart
    from clasp_trt.tools.evaluate import Questions, check_categories
    from clasp_trt.tools.evaluate.harness import write_jsonl, write_tsv

    if output is None:
        raise click.UsageError(f"--export writes a file: name it, -o F.{form}")
    if given := [option for option, value in refused.items() if value]:
        raise click.UsageError(f"--export asks nothing of a bundle; drop {' and '.join(given)}")
    keep_apart(output, bundle, data)
    questions = Questions.read(data, limit=limit)
    if bundle is not None:
        check_categories(questions, Bundle.open(bundle).policy)
    for row in questions.rows:
        keep_apart(output, *row.shown)
    with progress_bar() as progress:
        if form == "tsv":
            write_tsv(output, questions, progress)
            files = [output]
        else:
            files = [
                os.fspath(each)
                for each in write_jsonl(output, questions, max_new_tokens=max_new_tokens, progress=progress)
            ]
    if as_json:
        print_json({"questions": len(questions.rows), "files": files})
    else:
        for file in files:
            click.echo(file)
