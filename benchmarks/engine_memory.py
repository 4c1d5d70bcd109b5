"""Peak memory of building engines: a decoder in segments, against the same decoder in one graph.

``python -m benchmarks.engine_memory`` makes a checkpoint, exports it pruned (segments) and unpruned (one graph), builds
the engines of each decoder with TensorRT for RTX in a fresh process, without a GPU, and reports both peaks. The rule of
``clasp_trt/engines/tensorrt/memory.py`` (0.2 GB + 3.3 x weights) stands beside them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
_EXPORT = """
import json, sys
from clasp_trt.compiler import build
build(sys.argv[1], sys.argv[2], target=None, precision="fp16", max_context=1024, **json.loads(sys.argv[3]))
"""
_BUILD = """
import json, shutil, sys
from dataclasses import replace
from pathlib import Path
from benchmarks.worker import peak_rss_mb
from clasp_trt.bundle import Bundle
from clasp_trt.engines.tensorrt import memory
from clasp_trt.engines.tensorrt.builder import Recipe
from clasp_trt.engines.tensorrt.compile import compile_graphs
from clasp_trt.engines.tensorrt.library import load
bundle = Bundle.open(sys.argv[1])
decoder = {segment.graph for segment in bundle.manifest.segments}
manifest = replace(bundle.manifest, graphs=tuple(g for g in bundle.manifest.graphs if g.name in decoder))
compile_graphs(
    bundle.root, manifest, "rtx4090", Recipe(load("tensorrt-rtx"), ("8.9",)),
    max_prompt=256, use_cache=False, memory_limit=None, progress=lambda phase, done, total: None,
)
sizes = [manifest.files[graph.path + ".data"].bytes for graph in manifest.graphs]
print(json.dumps({
    "graphs": len(sizes), "weights_mb": sum(sizes) / 1e6, "largest_mb": max(sizes) / 1e6,
    "peak_rss_mb": peak_rss_mb(), "estimate_mb": memory.estimate(max(sizes)) / 1e6,
}))
"""


@click.command()
@click.option("--preset", default="tinyllama-1.1b", show_default=True, help="Preset of examples/random_llava.py.")
@click.option("--json", "as_json", is_flag=True)
def main(preset: str, as_json: bool) -> None:
    """Measure both peaks and print their ratio."""
    report: dict[str, object] = {"preset": preset}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        command = [sys.executable, "-m", "examples.random_llava", str(folder / "model"), "--preset", preset]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
        peaks = []
        for name, options in (("segments", {}), ("one graph", {"prune_at": "none"})):
            out = str(folder / name)
            _run(_EXPORT, str(folder / "model"), out, json.dumps(options))
            row = json.loads(_run(_BUILD, out))
            peaks.append(row["peak_rss_mb"])
            report[name] = row
            if not as_json:
                print(f"{name:<10} " + ", ".join(f"{key} {value:.0f}" for key, value in row.items()))
    report["ratio"] = peaks[0] / peaks[1]
    print(json.dumps(report, indent=2) if as_json else f"peak of segments / peak of one graph: {report['ratio']:.2f}")


def _run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    main()
