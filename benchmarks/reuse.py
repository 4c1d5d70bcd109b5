"""What is not computed twice: ``python -m benchmarks.reuse``.

One pipeline with the image cache and the reuse of prompts, and one with neither, answer the same requests in turn: a
picture that was shown before, and a prompt with a long system message. Medians of the time to first token, one thread.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from clasp_trt.runtime.pipeline import Pipeline, load
from clasp_trt.tools.build.compiler import build
from examples.random_llava import PRESETS, make

PHOTO = Path(__file__).parents[1] / "examples" / "photos" / "coffee.jpg"
SYSTEM = "You look after a warehouse. " * 64


def messages(system: str | None) -> list[dict[str, Any]]:
    """A question about the photo, perhaps after a system message."""
    asked = {
        "role": "user",
        "content": [{"type": "image", "path": str(PHOTO)}, {"type": "text", "text": "What is this?"}],
    }
    return [asked] if system is None else [{"role": "system", "content": system}, asked]


def first_token_ms(pipelines: Mapping[str, Pipeline], system: str | None, rounds: int) -> dict[str, float]:
    """The median of each pipeline, which are asked in turn; the first round fills what they keep."""
    taken: dict[str, list[float]] = {name: [] for name in pipelines}
    for number in range(rounds + 1):
        for name, pipeline in pipelines.items():
            spent = pipeline.chat(messages(system), max_new_tokens=1).timings_ms["ttft"]
            taken[name] += [spent] if number else []
    return {name: statistics.median(times) for name, times in taken.items()}


@click.command()
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="demo", show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
def main(preset: str, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        bundle = build(make(Path(root, "model"), PRESETS[preset]), Path(root, "bundle")).root
        with (
            load(bundle, threads=1) as keeps,
            load(bundle, threads=1, reuse_prompts=False) as pictures,
            load(bundle, threads=1, image_cache_bytes=0, reuse_prompts=False) as anew,
        ):
            print("| request | all anew | picture known | and the prompt before it |\n|---|---:|---:|---:|")
            for name, system in (("a picture shown before", None), ("after a long system message", SYSTEM)):
                found = first_token_ms({"anew": anew, "pictures": pictures, "keeps": keeps}, system, rounds)
                print(f"| {name} | {' | '.join(f'{each:.0f} ms' for each in found.values())} |")


if __name__ == "__main__":
    main()
