"""llama.cpp's server in its Python wheel: ``python -m benchmarks.peers.llamacpp DECODER.gguf MMPROJ.gguf --threads N``.

Its prompt cache is off: an equal prompt would otherwise be answered from it.
"""

from __future__ import annotations

import argparse
import base64
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.protocol import clocked, enough
from benchmarks.worker import Sample, peak_rss_mb, serve

CONTEXT = 1024
_TEMPLATE = "{% for m in messages %}{{ m['role'].upper() }}: {{ m['content'] }} {% endfor %}ASSISTANT:"


class LlamaCpp:
    """A decoder and the file of its tower and projector."""

    def __init__(self, model: Path, eyes: Path, threads: int) -> None:
        import xllamacpp

        p: Any = xllamacpp.CommonParams()
        p.model.path, p.mmproj.path = str(model), str(eyes)
        p.n_ctx = p.n_batch = p.n_ubatch = CONTEXT
        p.n_parallel = 1
        p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
        p.cache_prompt, p.cache_ram_mib, p.n_cache_reuse = False, 0, 0
        p.mmproj_use_gpu, p.fit_params, p.ctx_shift = False, False, False
        p.chat_template, p.use_jinja = _TEMPLATE, True
        self._server: Any = xllamacpp.Server(p)

    def run(self, image: Path, prompt: str, new_tokens: int) -> Sample:
        """By the server's own interface, streamed, greedily."""
        marks: list[float] = []
        last: dict[str, Any] = {}
        start = time.perf_counter()
        picture = "data:image/jpeg;base64," + base64.b64encode(image.read_bytes()).decode()
        content = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": f"\n{prompt}"}]
        request = {
            "messages": [{"role": "user", "content": content}],
            "max_tokens": new_tokens,
            "temperature": 0,
            "top_k": 1,
            "ignore_eos": True,
            "stream": True,
            "cache_prompt": False,
            "timings_per_token": True,
        }

        def heard(said: Any) -> bool:
            now = time.perf_counter()
            said = json.loads(said) if isinstance(said, (str, bytes)) else said
            for part in said if isinstance(said, list) else [said]:
                if "error" in part:
                    raise RuntimeError(str(part["error"]))
                last.update(part.get("timings") or {})
                while len(marks) < last.get("predicted_n", 0):
                    marks.append(now)
            return False

        self._server.handle_chat_completions(json.dumps(request), heard)
        tokens = enough([0] * len(marks), new_tokens)  # it tells how many there are, not which
        return clocked(start, marks, tokens, int(last["prompt_n"]), peak_rss_mb())


def main() -> None:
    """Time a decoder on requests from standard input, one JSON object per line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("eyes", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    serve(lambda: LlamaCpp(given.model, given.eyes, given.threads), packages=("xllamacpp",))


if __name__ == "__main__":
    main()
