"""Times a bundle: ``python -m benchmarks.bundle_peer BUNDLE --threads 2`` is a worker (:mod:`benchmarks.worker`)."""

from __future__ import annotations

import os
from pathlib import Path

import click

from benchmarks.worker import Sample, peak_rss_mb, serve


class BundlePeer:
    """A bundle on ONNX Runtime's CPU provider."""

    def __init__(self, bundle: Path, threads: int) -> None:
        from clasp_trt.runtime.pipeline import load

        self._pipeline = load(bundle, threads=threads, image_cache_bytes=0, reuse_prompts=False)

    def run(self, image: Path, prompt: str, new_tokens: int) -> Sample:
        """Answers ``prompt`` about the picture in the file ``image`` greedily, with exactly ``new_tokens`` tokens."""
        result = self._pipeline.generate(image, prompt, max_new_tokens=new_tokens)
        if len(result.token_ids) != new_tokens:
            raise RuntimeError(f"the answer stopped after {len(result.token_ids)} of {new_tokens} tokens")
        return Sample(
            ttft_ms=result.timings_ms["ttft"],
            tpot_ms=tuple(result.tpot_ms),
            tokens=result.token_ids,
            prompt_tokens=result.prompt_tokens,
            peak_rss_mb=peak_rss_mb(),
            steps_ms=result.timings_ms,
        )


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--threads", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default=True)
def main(bundle: Path, threads: int) -> None:
    """Time BUNDLE on requests from standard input, one JSON object per line."""
    serve(lambda: BundlePeer(bundle, threads), packages=("clasp-trt", "onnxruntime"))


if __name__ == "__main__":
    main()
