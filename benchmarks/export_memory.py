"""Peak memory of an export, on a checkpoint shaped like a 1.1B LLaVA.

``python -m benchmarks.export_memory`` makes the checkpoint (fp32, shards of up to 1 GB), exports it in a fresh process
and reports that process's peak resident memory beside the largest shard. The bound is the largest shard + 2.5 GB.
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
ALLOWANCE_MB = 2500
_EXPORT = """
import sys
from benchmarks.worker import peak_rss_mb
from clasp_trt.tools.build.compiler import build
build(sys.argv[1], sys.argv[2], target=None, precision=sys.argv[3], budget=64, max_context=1024)
print(peak_rss_mb())
"""


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Keep the checkpoint here [default: a temporary folder]."
)
@click.option("--preset", default="tinyllama-1.1b", show_default=True, help="Preset of examples/random_llava.py.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "bf16"]), default="fp32", show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(folder: Path | None, preset: str, precision: str, as_json: bool) -> None:
    """Measure the peak memory of exporting a checkpoint; exit code 1 beyond the bound."""
    with ExitStack() as stack:
        kept = (folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))).resolve()
        checkpoint = kept / preset
        if not (checkpoint / "config.json").is_file():
            command = [sys.executable, "-m", "examples.random_llava", str(checkpoint), "--preset", preset]
            subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
        shards = [path.stat().st_size / 1e6 for path in checkpoint.glob("*.safetensors")]
        out = stack.enter_context(tempfile.TemporaryDirectory(dir=kept))
        command = [sys.executable, "-c", _EXPORT, str(checkpoint), f"{out}/bundle", precision]
        peak = float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    bound = max(shards) + ALLOWANCE_MB
    row = {"peak_rss_mb": peak, "largest_shard_mb": max(shards), "weights_mb": sum(shards), "bound_mb": bound}
    if as_json:
        print(json.dumps(row, indent=2))
    else:
        print(", ".join(f"{name.replace('_mb', '').replace('_', ' ')} {value:.0f} MB" for name, value in row.items()))
    sys.exit(peak > bound)


if __name__ == "__main__":
    main()
