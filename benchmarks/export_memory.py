"""Peak memory and pace of an export, on a checkpoint of random weights in a true shape.

``python -m benchmarks.export_memory`` makes the checkpoint (shaped like a 1.1B LLaVA, fp32, shards of up to 1 GB),
exports it in a fresh process, and reports that process's peak resident memory beside the largest shard. The bound is
the largest shard + 2.5 GB. It also says how fast the bundle was written, and how fast a plain copy of up to 4 GB goes
to the same disk.

``--preset llava-next-13b --dtype float16 --precision fp16`` takes 53 GB of disk; all that was made is removed at the
end, but for a checkpoint in ``--folder``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click

from examples import random_llava, random_qwen
from examples.random_weights import SAFETENSORS_DTYPE

ROOT = Path(__file__).parents[1]
MAKERS = {preset: maker.__name__ for maker in (random_llava, random_qwen) for preset in maker.PRESETS}
ALLOWANCE_MB = 2500
COPIED_MB = 4000
PIECE = 1 << 24
_EXPORT = """
import json, os, sys, time
from benchmarks.worker import peak_rss_mb
from clasp_trt.tools.build.compiler import build
start = time.perf_counter()
bundle = build(sys.argv[1], sys.argv[2], target=None, precision=sys.argv[3], budget="1/9")
os.sync()
print(json.dumps({
    "peak_rss_mb": peak_rss_mb(),
    "export_s": time.perf_counter() - start,
    "bundle_mb": sum(entry.bytes for entry in bundle.manifest.files.values()) / 1e6,
}))
"""


def copy_rate(checkpoint: Path, to: Path) -> float:
    """MB/s of a plain copy of the first shards to the disk, until it says that they are there."""
    done, start = 0, time.perf_counter()
    with to.open("wb") as out:
        for shard in sorted(checkpoint.glob("*.safetensors")):
            with shard.open("rb") as file:
                while done < COPIED_MB * 1e6 and (piece := file.read(PIECE)):
                    done += out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    to.unlink()
    return done / 1e6 / (time.perf_counter() - start)


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Keep the checkpoint here [default: a temporary folder]."
)
@click.option(
    "--preset", type=click.Choice(list(MAKERS)), default="tinyllama-1.1b", show_default=True,
    help="Of examples/random_llava.py or random_qwen.py.",
)  # fmt: skip
@click.option("--dtype", type=click.Choice(list(SAFETENSORS_DTYPE)), default="float32", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "fp16", "bf16"]), default="fp32", show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(folder: Path | None, preset: str, dtype: str, precision: str, as_json: bool) -> None:
    """Measure the peak memory and the pace of exporting a checkpoint; exit code 1 beyond the bound of memory."""
    with ExitStack() as stack:
        kept = (folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))).resolve()
        checkpoint = kept / preset
        if not (checkpoint / "config.json").is_file():
            command = [sys.executable, "-m", MAKERS[preset], str(checkpoint)]
            subprocess.run([*command, "--preset", preset, "--dtype", dtype], cwd=ROOT, check=True, stdout=sys.stderr)
        shards = [path.stat().st_size / 1e6 for path in checkpoint.glob("*.safetensors")]
        out = stack.enter_context(tempfile.TemporaryDirectory(dir=kept))
        copied = copy_rate(checkpoint, Path(out) / "copy")
        command = [sys.executable, "-c", _EXPORT, str(checkpoint), f"{out}/bundle", precision]
        found = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    bound = max(shards) + ALLOWANCE_MB
    row = {
        **{"peak_rss_mb": found["peak_rss_mb"], "largest_shard_mb": max(shards), "bound_mb": bound},
        **{"weights_mb": sum(shards), "bundle_mb": found["bundle_mb"], "export_s": found["export_s"]},
        **{"export_mb_s": found["bundle_mb"] / found["export_s"], "copy_mb_s": copied},
    }
    if as_json:
        print(json.dumps(row, indent=2))
    else:
        units = (("_mb_s", "MB/s"), ("_mb", "MB"), ("_s", "s"))
        for name, value in row.items():
            ending, unit = next(each for each in units if name.endswith(each[0]))
            print(f"{name.removesuffix(ending).replace('_', ' '):16}{value:10.0f} {unit}")
    sys.exit(found["peak_rss_mb"] > bound)


if __name__ == "__main__":
    main()
