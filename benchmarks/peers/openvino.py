"""OpenVINO GenAI's pipeline of pictures and text.

``python -m benchmarks.peers.openvino FOLDER --threads N [--prune 89]`` times what optimum-intel exported.
Prefix caching is off: an equal prompt would otherwise be answered from the cache of its paged attention. ``--prune`` is
the percentage of visual tokens that its CDPruner drops.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.protocol import clocked, enough
from benchmarks.worker import Sample, peak_rss_mb, serve

BATCHED_TOKENS = 2048  # more than a prompt has: it is computed at once
CACHE_GB = 1


class OpenVino:
    """A folder that ``optimum-cli export openvino`` wrote."""

    def __init__(self, folder: Path, threads: int, prune: int) -> None:
        import openvino
        import openvino_genai

        self._genai: Any = openvino_genai
        self._tensor: Any = openvino.Tensor
        self._prune = prune
        plan = openvino_genai.SchedulerConfig()
        plan.enable_prefix_caching = False
        plan.max_num_batched_tokens = BATCHED_TOKENS
        plan.cache_size = CACHE_GB
        self._pipeline: Any = openvino_genai.VLMPipeline(
            str(folder), "CPU", INFERENCE_NUM_THREADS=threads, scheduler_config=plan
        )

    def run(self, image: Path, prompt: str, new_tokens: int) -> Sample:
        """Greedily; the picture is read within the time to first token."""
        import numpy as np
        from PIL import Image

        genai = self._genai
        marks: list[float] = []
        tokens: list[int] = []

        class Clock(genai.StreamerBase):  # type: ignore[misc]
            def write(self, said: int | list[int]) -> Any:
                now = time.perf_counter()
                for token in said if isinstance(said, list) else [said]:
                    marks.append(now)
                    tokens.append(int(token))
                return genai.StreamingStatus.RUNNING

            def end(self) -> None:
                """Nothing is buffered."""

        how = genai.GenerationConfig()
        how.max_new_tokens = how.min_new_tokens = new_tokens
        how.ignore_eos, how.do_sample, how.pruning_ratio = True, False, self._prune
        start = time.perf_counter()
        with Image.open(image) as picture:
            pixels = np.asarray(picture.convert("RGB"))[None]
        seen = self._tensor(np.ascontiguousarray(pixels))
        answer = self._pipeline.generate(prompt, images=[seen], generation_config=how, streamer=Clock())
        prompt_tokens = int(answer.perf_metrics.get_num_input_tokens())
        return clocked(start, marks, enough(tokens, new_tokens), prompt_tokens, peak_rss_mb())


def main() -> None:
    """Time a folder on requests from standard input, one JSON object per line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--prune", type=int, default=0)
    given = parser.parse_args()
    serve(
        lambda: OpenVino(given.folder, given.threads, given.prune),
        packages=("openvino-genai", "openvino", "optimum-intel", "nncf"),
    )


if __name__ == "__main__":
    main()
