"""Times a LLaVA checkpoint in Hugging Face transformers: the baseline of the end-to-end benchmark.

As a program it is a worker (:mod:`benchmarks.worker`):
``python -m benchmarks.hf_llava CHECKPOINT --attention sdpa --threads 2``.
"""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import click

from benchmarks.worker import Sample, peak_rss_mb, serve

Attention = Literal["eager", "sdpa"]


class _Clock:
    """A streamer that notes when each token was put: `generate` puts the prompt first."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.tokens: list[int] = []
        self.prompt_tokens = 0

    def put(self, value: Any) -> None:
        if value.dim() > 1:
            self.prompt_tokens = value.shape[-1]
            return
        self.seconds.append(time.perf_counter())
        self.tokens.append(int(value))

    def end(self) -> None:
        """Nothing is buffered."""


class HfLlava:
    """A checkpoint folder, loaded as float32 on the CPU; ``compiled`` by torch.compile, with a cache of fixed size."""

    def __init__(self, checkpoint: Path, attention: Attention, threads: int, *, compiled: bool = False) -> None:
        import torch
        from transformers import LlavaForConditionalGeneration, LlavaProcessor

        torch.set_num_threads(threads)
        self.processor: Any = LlavaProcessor.from_pretrained(checkpoint)
        self.model: Any = LlavaForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32, attn_implementation=attention
        )
        self._how: dict[str, Any] = {}
        if compiled:
            self._how = {"cache_implementation": "static"}
            self.model.model.vision_tower.compile()
            self.model.model.language_model.compile()

    def run(self, image: Path, prompt: str, new_tokens: int) -> Sample:
        """Answer ``prompt`` about the picture in the file ``image`` greedily, with exactly ``new_tokens`` tokens."""
        import torch
        from PIL import Image

        if new_tokens < 1:
            raise ValueError(f"can't generate {new_tokens} tokens, expected 1 or more")
        clock = _Clock()
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        start = time.perf_counter()
        text = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        with Image.open(image) as picture:
            inputs = self.processor(images=picture.convert("RGB"), text=text, return_tensors="pt")
        with torch.inference_mode():
            # An answer that stops early would time fewer tokens than its peers: hence the minimum.
            self.model.generate(
                **inputs,
                do_sample=False,
                min_new_tokens=new_tokens,
                max_new_tokens=new_tokens,
                streamer=clock,
                **self._how,
            )
        marks = clock.seconds
        return Sample(
            ttft_ms=(marks[0] - start) * 1e3,
            tpot_ms=tuple((after - before) * 1e3 for before, after in pairwise(marks)),
            tokens=tuple(clock.tokens),
            prompt_tokens=clock.prompt_tokens,
            peak_rss_mb=peak_rss_mb(),
        )


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--attention", type=click.Choice(["eager", "sdpa"]), default="sdpa", show_default=True)
@click.option("--compiled", is_flag=True, help="By torch.compile.")
@click.option("--threads", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default=True)
def main(checkpoint: Path, attention: Attention, compiled: bool, threads: int) -> None:
    """Time CHECKPOINT on requests from standard input, one JSON object per line."""
    serve(lambda: HfLlava(checkpoint, attention, threads, compiled=compiled), packages=("transformers", "torch"))


if __name__ == "__main__":
    main()
