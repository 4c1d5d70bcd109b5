"""onnxruntime-genai, which knows no LLaVA: the decoder alone.

``python -m benchmarks.peers.onnxruntime_genai FOLDER --threads N`` times what its model builder wrote. A
prompt is token ids drawn at random, as many as the others have: time to first token leaves out the picture, the tower
and the projector.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.protocol import clocked, enough
from benchmarks.worker import Sample, peak_rss_mb, serve

PROMPT_TOKENS = 639  # of the other peers' prompt: 576 of the picture, 63 of text


class Decoder:
    """A folder of the model builder, by its generator."""

    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime_genai as genai

        self._genai: Any = genai
        config = genai.Config(str(folder))
        config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
        self._model: Any = genai.Model(config)

    def run(self, image: Path, prompt: str, new_tokens: int) -> Sample:
        """Continues :data:`PROMPT_TOKENS` ids; ``image`` and ``prompt`` are not looked at."""
        import numpy as np

        ids = np.random.default_rng(0).integers(300, 800, PROMPT_TOKENS).astype(np.int32)
        start = time.perf_counter()
        limits = self._genai.GeneratorParams(self._model)
        whole = PROMPT_TOKENS + new_tokens
        limits.set_search_options(max_length=whole + 1, min_length=whole + 1, do_sample=False)
        generator = self._genai.Generator(self._model, limits)
        generator.append_tokens(ids)
        marks: list[float] = []
        tokens: list[int] = []
        for _ in range(new_tokens):
            generator.generate_next_token()
            tokens.append(int(generator.get_next_tokens()[0]))
            marks.append(time.perf_counter())
        return clocked(start, marks, enough(tokens, new_tokens), PROMPT_TOKENS, peak_rss_mb())


def main() -> None:
    """Time a folder on requests from standard input, one JSON object per line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    serve(lambda: Decoder(given.folder, given.threads), packages=("onnxruntime-genai", "onnxruntime"))


if __name__ == "__main__":
    main()
