"""An answer as it is made, and how it came about, for people and for programs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from clasp_trt.cli.describe import chosen
from clasp_trt.cli.kept import kept_json, kept_line

if TYPE_CHECKING:
    from clasp_trt.runtime.answer import Answer
    from clasp_trt.runtime.result import Result


def print_answer(answer: Answer) -> Result:
    """Prints the pieces as they come; whatever ends them, what follows starts on a line of its own."""
    begun = False
    try:
        for piece in answer:
            click.echo(piece, nl=False)
            begun = True
    finally:
        if begun:
            click.echo()
    return answer.result


def facts(result: Result) -> str:
    """One line: category, tokens that were kept, and times."""
    count = len(result.token_ids)
    made = "1 token" if count == 1 else f"{count} tokens, {result.tokens_per_second:.1f} tokens/s"
    found = [kept_line(result), f"TTFT {result.timings_ms['ttft']:.0f} ms", made]
    if result.speculation is not None:
        found.append(str(result.speculation))
    how = replace(result.generation, max_new_tokens=None, max_length=None)  # not where it ends
    return " | ".join([*found, chosen(how)] if how.effective() else found)


def answer_json(result: Result) -> dict[str, object]:
    """The answer and all that is told of it."""
    return {
        "text": result.text,
        "category": result.category,
        "confidence": result.route.confidence,
        "finish_reason": result.finish_reason,
        "generation": result.generation.effective(),
        "prompt_tokens": result.prompt_tokens,
        "visual_tokens": result.visual_tokens,
        "reused_images": result.reused_images,
        "reused_tokens": result.reused_tokens,
        "generated_tokens": len(result.token_ids),
        "tokens_per_second": result.tokens_per_second,
        "timings_ms": result.timings_ms,
        "tpot_ms": list(result.tpot_ms),
        "speculation": None if result.speculation is None else result.speculation.to_json(),
        "kept": kept_json(result),
    }
