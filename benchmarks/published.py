"""Published figures of models with 4-bit weights on Jetsons, and where each stands, as they were read in November 2026.

Of TensorRT Edge-LLM's page the rows of one request are taken whose models are dense and of a kind that we compute, and
what they do before any token is guessed: speculative rows count until the first token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BEFORE_SUPER = " before Super"
"""Behind the name of an Orin Nano in the power mode in which it was sold first."""


@dataclass(frozen=True)
class Source:
    """Who measured, and how the models there are held: scales for ``group`` inputs of a matrix, the output head in 4
    bits too or in 16."""

    name: str
    url: str
    group: int | None
    rounded_head: bool


EDGE_LLM = Source(
    "TensorRT Edge-LLM 0.9",
    "https://nvidia.github.io/TensorRT-Edge-LLM/0.9.1/user_guide/performance/performance-benchmarks.html",
    group=128, rounded_head=False,
)  # fmt: skip
EDGE_LLM_OLD = Source(
    "TensorRT Edge-LLM 0.4",
    "https://nvidia.github.io/TensorRT-Edge-LLM/user_guide/performance/performance-benchmarks.html",
    group=128, rounded_head=False,
)  # fmt: skip
TRT_LLM = Source(
    "TensorRT-LLM 0.12",
    "https://github.com/NVIDIA/TensorRT-LLM/blob/v0.12.0-jetson/README4Jetson.md",
    group=128, rounded_head=False,
)  # fmt: skip
MLC = Source(
    "Jetson AI Lab, MLC q4f16_ft", "https://www.jetson-ai-lab.com/benchmarks.html", group=None, rounded_head=True,
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """One row of a source: milliseconds, tokens per second and MB; None where it has none.

    ``prompt`` tokens are filled in, of which ``visual`` are a picture's. ``context`` is what the caches hold at most.
    """

    source: Source
    device: str
    model: str
    prompt: int
    visual: int = 0
    vision_ms: float | None = None
    prefill_ms: float | None = None
    speed: float | None = None
    memory_mb: float | None = None
    context: int = 2200


# device, model, prompt, visual, vision ms, prefill ms, tokens/s, MB
_EDGE = """
orin-agx-64   Qwen3-0.6B      61    0      -   14.8  186.4  1931
orin-agx-64   Qwen3-1.7B      61    0      -   20.4   98.6  3302
orin-agx-64   Qwen3-4B        57    0      -   42.6   53.1  4911
orin-agx-64   Qwen3-8B        61    0      -   65.7   32.5  8221
orin-agx-64   Qwen3-VL-2B    292  265   39.0   50.0   98.4     -
orin-agx-64   Qwen3-VL-4B    292  265   39.3  123.7   52.4     -
orin-agx-64   Qwen3-VL-8B    292  265   57.2  225.1   32.3     -
orin-agx-64   Qwen2.5-VL-7B  376  349   89.2  260.9      -     -
orin-nx-16    Qwen3-0.6B      61    0      -   18.9  117.4  1937
orin-nx-16    Qwen3-1.7B      61    0      -   35.4   60.4  3250
orin-nx-16    Qwen3-4B        57    0      -   74.9   31.6  4921
orin-nx-16    Qwen3-8B        61    0      -  127.2   19.0  7880
orin-nx-16    Qwen3-VL-2B    292  265   82.1  103.1   60.1  4344
orin-nx-16    Qwen3-VL-4B    292  265   83.7  244.6   31.2  5903
orin-nx-16    Qwen3-VL-8B    292  265  120.0  462.1   18.9  9065
orin-nx-16    Qwen2.5-VL-7B  376  349  208.5  535.5      -     -
orin-nano-8*  Qwen3-0.6B      61    0      -   28.7   72.8  1889
orin-nano-8*  Qwen3-1.7B      61    0      -   63.1   37.4  3234
orin-nano-8*  Qwen3-VL-2B    292  265  151.1  190.9   36.9  4380
thor          Qwen3-4B        57    0      -   33.5   79.6     -
thor          Qwen3-8B        61    0      -   56.0   49.3     -
thor          Qwen3-VL-4B    292  265   11.7   85.2   79.0     -
thor          Qwen3-VL-8B    292  265   15.8  156.5   48.9     -
thor          Qwen2.5-VL-7B  376  349   32.8  177.4      -     -
"""
"""Memory is left out where it is not that of the model: on Thor, where the page does not count weights that lie outside
the engine (3.2 GB for 8 billion), and on the AGX Orin with towers built for 16384 tokens of pictures together. No power
mode is stated: all figures of the Nano are those of 68 GB/s and 10 TFLOP/s (``*``), those of the NX of Super mode."""

_OTHERS = (
    Figure(EDGE_LLM_OLD, "thor", "Llama-3.1-8B", 383, prefill_ms=215.5, speed=50.8),
    Figure(TRT_LLM, "orin-agx-64", "Llama-3.1-8B", 128, prefill_ms=105, speed=34.5),
    Figure(TRT_LLM, "orin-agx-64", "Llama-3.1-8B", 512, prefill_ms=292, speed=33.7, memory_mb=6800, context=1024),
    Figure(TRT_LLM, "orin-agx-64", "Llama-3.1-8B", 1024, speed=33.3),  # its prefill is above the module's peak
    *(
        Figure(MLC, device, model, 0, speed=speed)
        for model, before, after in (
            ("Llama-3.1-8B", 14.0, 19.14),
            ("Llama-3.2-3B", 27.7, 43.07),
            ("Qwen2.5-7B", 14.2, 21.75),
            ("Phi-3.5-3.8B", 24.7, 38.1),
            ("SmolLM2-1.7B", 41.0, 64.5),
        )
        for device, speed in ((f"orin-nano-8{BEFORE_SUPER}", before), ("orin-nano-8", after))
    ),
)


def figures() -> Iterator[Figure]:
    """All of them."""
    for line in _EDGE.strip().splitlines():
        device, model, *words = line.split()
        device = device.replace("*", BEFORE_SUPER)
        prompt, visual, vision, prefill, speed, memory = (None if word == "-" else float(word) for word in words)
        assert prompt is not None
        assert visual is not None
        yield Figure(EDGE_LLM, device, model, int(prompt), int(visual), vision, prefill, speed, memory)
    yield from _OTHERS
