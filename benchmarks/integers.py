"""Products with rounded weights on this CPU against those with floats: ``python -m benchmarks.integers``.

One linear layer of ``--inputs`` and ``--outputs``, in floats, in 4 bits and in 8, as a bundle for target cpu holds it,
with 1 row (a step), 96 (a pruned prompt) and 640 (a whole one). Forms take turns; times are medians. Needs the extra
``build``.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch

from clasp_trt.engines.lowering.weights import lower_weights
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.weights.graph import Weights
from clasp_trt.export.weights.rounding import rounded
from clasp_trt.export.weights.stored import Weight
from clasp_trt.export.weights.transforms import cast
from clasp_trt.quantization import parse

FORMS = ("none", "decoder=int4:32", "decoder=int4", "decoder=int8")
ROWS = (1, 96, 640)
_NAME = "decoder.layers.0.linear"


def session(form: str, inputs: int, outputs: int, folder: Path, threads: int) -> ort.InferenceSession:
    """The layer in one of :data:`FORMS`, from ``x`` ``[1, n, inputs]`` to ``y`` ``[1, n, outputs]``."""
    matrix = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(0)) / inputs**0.5
    stored = {f"{_NAME}.weight": Weight(_NAME, (outputs, inputs), "float32", lambda: matrix)}
    weights = Weights(cast(rounded(stored, parse(form)), "float32"))
    g = GraphBuilder("layer", "One linear layer.")
    x = g.input("x", "float32", (1, "n", inputs), "rows")
    product = g.op("MatMul", x, g.weight("w", weights.linear(_NAME, inputs, outputs)))
    g.output(product, "y", "float32", (1, "n", outputs), "products")
    path = folder / f"{FORMS.index(form)}.onnx"
    ir.save(g.model(), path, external_data=f"{path.name}.data", size_threshold_bytes=256)
    lower_weights(path, products=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def measure(inputs: int, outputs: int, rounds: int, threads: int) -> dict[str, dict[int, float]]:
    """Milliseconds by form and number of rows."""
    found: dict[str, dict[int, float]] = {form: {} for form in FORMS}
    with tempfile.TemporaryDirectory() as folder:
        sessions = {form: session(form, inputs, outputs, Path(folder), threads) for form in FORMS}
        for rows in ROWS:
            x = np.random.default_rng(0).normal(size=(1, rows, inputs)).astype(np.float32)
            times: dict[str, list[float]] = {form: [] for form in FORMS}
            for _ in range(rounds):
                for form, each in sessions.items():
                    start = time.perf_counter()
                    each.run(None, {"x": x})
                    times[form].append(time.perf_counter() - start)
            for form in FORMS:
                found[form][rows] = statistics.median(times[form]) * 1e3
    return found


@click.command()
@click.option("--inputs", type=int, default=2048, show_default=True)
@click.option("--outputs", type=int, default=5632, show_default=True)
@click.option("--rounds", type=int, default=21, show_default=True, help="Of which the median is told.")
@click.option("--threads", type=int, default=2, show_default=True)
def main(**options: Any) -> None:
    """Prints milliseconds, and how many times faster than floats."""
    found = measure(**options)
    click.echo(f"{'':<16}" + "".join(f"{f'{rows} rows':>20}" for rows in ROWS))
    for form, times in found.items():
        cells = (f"{ms:.2f} ms {found['none'][rows] / ms:4.2f}x" for rows, ms in times.items())
        click.echo(f"{'floats' if form == 'none' else form:<16}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
