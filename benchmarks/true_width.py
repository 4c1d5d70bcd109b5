"""Engines in the true widths of Qwen2.5-VL-7B, of few layers: what building takes, and how large they are.

``python -m benchmarks.true_width`` makes a checkpoint of random weights with two decoder layers and four blocks of the
tower, two of which see the whole picture, and builds the tower and the layers in fp16 with TensorRT for RTX, without a
GPU, for pictures of up to ``--tokens`` visual tokens. Each engine is built in a process of its own, as in ``clasp-trt
build``; the peak is that of this process. Takes 2 GB of disk.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.tree_memory import TreeMemory
from clasp_trt import build_memory
from clasp_trt.engines.tensorrt.builder import Recipe
from clasp_trt.engines.tensorrt.compile import compile_graphs
from clasp_trt.engines.tensorrt.library import load
from clasp_trt.tools.build.compiler import build
from examples.random_qwen import PRESETS, Shape, make

LAYERS, BLOCKS = 2, 4
GRAPHS = ("vision", "segment_0")
_PROMPT = 256


def shape() -> Shape:
    """The widths of Qwen2.5-VL-7B; the vocabulary, whose rows the builder sees one after another, is a small one."""
    whole = PRESETS["qwen2.5-vl-7b"]
    return replace(whole, layers=LAYERS, vision_layers=BLOCKS, full_blocks=(1, 3), vocab=512)


def measured(folder: Path, tokens: int) -> dict[str, dict[str, float]]:
    """GB and seconds of each of :data:`GRAPHS`, made in ``folder``."""
    model = make(folder / "model", shape(), dtype="float16")
    bundle = build(
        model, folder / "portable", target=None, precision="fp16", prune_at="encoder", budget="1/3",
        max_visual_tokens=tokens,
    )  # fmt: skip
    recipe, found = Recipe(load("tensorrt-rtx"), ("8.9",)), dict[str, dict[str, float]]()
    for name in GRAPHS:
        graph, start = bundle.graph(name), time.perf_counter()
        with TreeMemory() as memory:
            made = compile_graphs(
                bundle.root, replace(bundle.manifest, graphs=(graph,)), name, recipe,
                max_prompt=_PROMPT, use_cache=False, memory_limit=None, progress=lambda phase, done, total: None,
            )  # fmt: skip
        weights = bundle.manifest.files[f"{graph.path}.data"].bytes
        found[name] = {
            "weights_gb": weights / 1e9,
            "engine_gb": (bundle.root / made.engines.engines[0].path).stat().st_size / 1e9,
            "peak_gb": memory.anonymous / 1e9,
            "rule_gb": build_memory.peak(weights) / 1e9,
            "seconds": time.perf_counter() - start,
        }
    return found


@click.command()
@click.option("--tokens", default=4096, show_default=True, help="Visual tokens of a picture, at most.")
@click.option("--json", "as_json", is_flag=True)
def main(tokens: int, as_json: bool) -> None:
    """Build both engines."""
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), tokens)
    if as_json:
        print(json.dumps({"tokens": tokens, **found}, indent=2))
        return
    for name, row in found.items():
        print(f"{name:<10} " + ", ".join(f"{key} {value:.2f}" for key, value in row.items()))


if __name__ == "__main__":
    main()
