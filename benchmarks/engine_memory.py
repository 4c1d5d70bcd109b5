"""Peak memory of building engines: a decoder in segments, cut finer, and the same decoder in one graph.

``python -m benchmarks.engine_memory`` makes a checkpoint, exports its decoder three ways, and builds the engines of
each with TensorRT for RTX, without a GPU. As in ``clasp-trt build`` each engine is built in a process of its own; the
peak is that of the largest of these. The rule of ``clasp_trt/build_memory.py`` (0.2 GB + 3 x weights) stands beside it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import click

from examples.random_llava import PRESETS, Shape, make

ROOT = Path(__file__).parents[1]
_EXPORT = """
import json, sys
from clasp_trt.tools.build.compiler import build
build(sys.argv[1], sys.argv[2], target=None, precision="fp16", max_context=1024, **json.loads(sys.argv[3]))
"""
_BUILD = """
import json, sys, time
from dataclasses import replace
from benchmarks.tree_memory import TreeMemory
from clasp_trt import build_memory
from clasp_trt.bundle import Bundle
from clasp_trt.engines.tensorrt.builder import Recipe
from clasp_trt.engines.tensorrt.compile import compile_graphs
from clasp_trt.engines.tensorrt.library import load
bundle = Bundle.open(sys.argv[1])
decoder = {segment.graph for segment in bundle.manifest.segments}
manifest = replace(bundle.manifest, graphs=tuple(g for g in bundle.manifest.graphs if g.name in decoder))
start = time.perf_counter()
with TreeMemory() as memory:
    engines = compile_graphs(
        bundle.root, manifest, "rtx4090", Recipe(load("tensorrt-rtx"), ("8.9",)),
        max_prompt=256, use_cache=False, memory_limit=None, progress=lambda phase, done, total: None,
    ).engines
sizes = [manifest.files[graph.path + ".data"].bytes for graph in manifest.graphs]
print(json.dumps({
    "graphs": len(sizes), "weights_gb": sum(sizes) / 1e9, "largest_gb": max(sizes) / 1e9,
    "engines_gb": sum((bundle.root / engine.path).stat().st_size for engine in engines.engines) / 1e9,
    "peak_gb": memory.anonymous / 1e9, "rule_gb": build_memory.peak(max(sizes)) / 1e9,
    "resident_gb": memory.resident / 1e9, "seconds": time.perf_counter() - start,
}))
"""


def _shape(layers: int) -> Shape:
    """Layers and vocabulary of TinyLlama-1.1B behind a vision tower too small to count, but for its 576 tokens."""
    decoder = PRESETS["tinyllama-1.1b"]
    return replace(
        PRESETS["demo"], layers=layers, width=decoder.width, heads=decoder.heads, kv_heads=decoder.kv_heads,
        mlp=decoder.mlp, vocab=decoder.vocab,
    )  # fmt: skip


@click.command()
@click.option("--layers", default=8, show_default=True, help="Decoder layers, each as in TinyLlama-1.1B.")
@click.option("--finer", default=1.2, show_default=True, help="--max-build-memory of the finer cut, in GB.")
@click.option("--json", "as_json", is_flag=True)
def main(layers: int, finer: float, as_json: bool) -> None:
    """Measure the three peaks."""
    ways: dict[str, dict[str, object]] = {
        "one graph": {"prune_at": "none"},
        "segments": {},
        "finer": {"max_build_memory": finer},
    }
    report: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = make(Path(folder) / "model", _shape(layers), dtype="float16")
        for name, options in ways.items():
            out = str(Path(folder) / name)
            _run(_EXPORT, str(model), out, json.dumps(options))
            report[name] = json.loads(_run(_BUILD, out))
            if not as_json:
                print(f"{name:<10} " + ", ".join(f"{key} {value:.2f}" for key, value in report[name].items()))
    if as_json:
        print(json.dumps({"layers": layers, "finer_gb": finer, **report}, indent=2))


def _run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    main()
