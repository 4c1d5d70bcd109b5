"""Tokens that are copied from the prompt, against one token a step: ``python -m benchmarks.speculation``.

A prompt holds a passage, and the answer quotes it: whole, or phrase by phrase under headings that the prompt does not
have. Random weights quote nothing, so the answer is held to the quotation by ``choices``, which costs the same in every
column: what is computed is what a model computes that reads well, and how much is accepted follows from the text alone.
Nothing is measured about how often a model quotes.

The ways of answering take turns, round for round, and the first round does not count. Told are medians over rounds of
the time per token after the first, and how many times faster that is than without proposals.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.runtime.result import Result
from clasp_trt.speculation import MOST
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.demo.shipped import checkpoint
from examples.random_llava import PRESETS, Shape, make

PASSAGE = (
    "The quick brown fox jumps over the lazy dog. On Monday the invoice of forty two pounds was paid by Mister Smith, "
    "and the goods left the harbour on a small grey ship with nine sailors."
)
PHRASES = ("the invoice of forty two pounds", "Mister Smith", "a small grey ship with nine sailors", "the lazy dog")
HEADINGS = ("Amount due:", "Payer:", "Carrier:", "Animal:")
TASKS = {
    "quotation": PASSAGE,
    "form": " ".join(f"{heading} {phrase}." for heading, phrase in zip(HEADINGS, PHRASES, strict=True)),
}
PROMPT = f"Read this and repeat what you are asked for. {PASSAGE}"
MEDIUM = Shape(
    vision_layers=2, vision_width=64, vision_heads=4, vision_mlp=128, image_size=112, patch_size=14,
    layers=8, width=1024, heads=16, kv_heads=4, mlp=2816, vocab=8192,
)  # fmt: skip
"""A decoder of 108 million weights, in the proportions of TinyLlama: large enough that a step is its products."""


class Row(NamedTuple):
    """A way of answering: milliseconds per token after the first, the median over rounds, and what was accepted."""

    ms: float
    tokens_per_step: float
    accepted: float


def measure(pipe: Pipeline, answer: str, lookups: Sequence[int], rounds: int) -> dict[int, Row]:
    """By how many tokens are looked up for a step. Raises ``AssertionError`` if that changes a token."""
    times: dict[int, list[float]] = {lookup: [] for lookup in lookups}
    found: dict[int, Result] = {}
    for number in range(rounds + 1):
        for lookup in lookups:
            found[lookup] = pipe.generate(None, PROMPT, choices=[answer], max_new_tokens=512, lookup=lookup)
            assert found[lookup].token_ids == found[lookups[0]].token_ids
            if number:
                times[lookup].append(statistics.mean(found[lookup].tpot_ms))
    rows = {}
    for lookup, result in found.items():
        told = result.speculation
        share = 0.0 if told is None else told.accepted / max(1, told.proposed)
        rows[lookup] = Row(statistics.median(times[lookup]), 1.0 if told is None else told.tokens_per_step, share)
    return rows


@click.command()
@click.option("--preset", type=click.Choice(sorted(PRESETS)), help="Random weights [default: 108 million of them].")
@click.option("--shipped", is_flag=True, help="The shipped checkpoint instead.")
@click.option("--quantize", multiple=True, default=("none", "int4"), show_default=True)
@click.option("--lookup", "lookups", type=click.IntRange(1, MOST), multiple=True, default=(3, 7), show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
def main(
    preset: str | None, shipped: bool, quantize: tuple[str, ...], lookups: tuple[int, ...], rounds: int, threads: int
) -> None:
    """Prints a table."""
    print("| weights | answer | lookup | time per token | tokens a step | accepted | gain |")
    print("|---|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as root:
        model = checkpoint(None) if shipped else make(Path(root, "model"), PRESETS[preset] if preset else MEDIUM)
        for form in quantize:
            bundle = build(model, Path(root, form), max_context=1024, quantize=None if form == "none" else form)
            with load(bundle.root, threads=threads) as pipe:
                for task, answer in TASKS.items():
                    rows = measure(pipe, answer, (0, *lookups), rounds)
                    for lookup, row in rows.items():
                        print(
                            f"| {form} | {task} | {lookup} | {row.ms:.2f} ms | {row.tokens_per_step:.2f} | "
                            f"{row.accepted:.0%} | x {rows[0].ms / row.ms:.2f} |"
                        )


if __name__ == "__main__":
    main()
