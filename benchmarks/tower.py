"""What a vision tower takes on this CPU, whole and with what makes it less: ``python -m benchmarks.tower``.

A tower of the size of CLIP ViT-L/14-336 with random weights and ``--blocks`` blocks, as a bundle for target cpu holds
it: in floats, with ``--quantize vision=int8``, and with ``--prune-tower``. Forms take turns; times are medians, of the
processor's time with one thread and of the clock with more. Beside them stands the rate of plain products of the same
shapes. Needs the extra ``build``.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch

from clasp_trt.engines.lowering import lower_file
from clasp_trt.engines.lowering.weights import lower_weights
from clasp_trt.export.config import Settings
from clasp_trt.export.graph import GraphBuilder
from clasp_trt.export.towers.anatomy import anatomy
from clasp_trt.export.towers.configs import TOWERS
from clasp_trt.export.towers.graph import tower_graph
from clasp_trt.export.towers.spec import TowerSpec
from clasp_trt.export.weights.graph import Weights
from clasp_trt.export.weights.rounding import rounded
from clasp_trt.export.weights.stored import Weight
from clasp_trt.export.weights.transforms import cast
from clasp_trt.quantization import UNROUNDED, parse
from clasp_trt.targets import onnxruntime_opset
from clasp_trt.thinning import AskedThinning

SIZES = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
}  # fmt: skip
_INLINE = 256


@dataclass(frozen=True)
class Form:
    """A tower as it is run: ``flops`` of a picture, and ``call``, which sees one."""

    name: str
    flops: float
    call: Callable[[], object]


def session(path: Path, threads: int) -> ort.InferenceSession:
    """As the runtime opens a graph."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    for key, value in (("force_spinning_stop", "1"), ("dynamic_block_base", "4"), ("x64quantprecision", "1")):
        options.add_session_config_entry(f"session.{key}", value)
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def saved(model: ir.Model, path: Path) -> Path:
    """Written and lowered as a build does it."""
    ir.save(model, path, external_data=f"{path.name}.data", size_threshold_bytes=_INLINE)
    lower_weights(path, products=True)
    lower_file(path, onnxruntime_opset(ort.__version__))
    return path


def towers(blocks: int, thinning: str, folder: Path, threads: int) -> list[Form]:
    """The tower in floats, rounded, and with fewer rows."""
    spec = TOWERS["clip_vision_model"](Settings("", "", {**SIZES, "num_hidden_layers": blocks}, {}), -1)
    thin = replace(spec, thinning=AskedThinning.parse(thinning).of(spec.patches, spec.built_blocks))
    torch.manual_seed(0)
    stored = {
        f"tower.{name}": Weight(name, tuple(value.shape), "float32", partial(torch.clone, value))
        for name, value in anatomy("clip").build(spec).state_dict().items()
    }
    pixels = np.random.default_rng(0).normal(size=(1, 3, spec.image_size, spec.image_size)).astype(np.float32)
    forms = []
    for name, shape, quantize in (("floats", spec, None), ("int8", spec, "int8"), (thinning, thin, None)):
        scheme = UNROUNDED if quantize is None else parse(f"vision={quantize}")
        model = tower_graph(shape, (blocks,), Weights(cast(rounded(stored, scheme), "float32")), "float32")
        opened = session(saved(model, folder / f"{len(forms)}.onnx"), threads)
        forms.append(Form(name, shape.flops(shape.rows), partial(opened.run, None, {"pixel_values": pixels})))
    return forms


def plain(spec: TowerSpec, folder: Path, threads: int) -> list[Form]:
    """Products of all rows with matrices of two of the shapes of a block."""
    forms = []
    for inputs, outputs in ((spec.width, spec.width), (spec.width, spec.mlp)):
        g = GraphBuilder("product", "One product.")
        rows = g.input("rows", "float32", (spec.rows, inputs), "rows")
        matrix = np.random.default_rng(0).normal(size=(inputs, outputs)).astype(np.float32)
        g.output(g.op("MatMul", rows, g.weight("matrix", ir.tensor(matrix))), "y", "float32", (spec.rows, outputs), "")
        path = folder / f"plain{outputs}.onnx"
        ir.save(g.model(), path)
        x = np.random.default_rng(1).normal(size=(spec.rows, inputs)).astype(np.float32)
        call = partial(session(path, threads).run, None, {"rows": x})
        forms.append(Form(f"product {inputs}x{outputs}", 2.0 * spec.rows * inputs * outputs, call))
    return forms


def measure(forms: Sequence[Form], rounds: int, threads: int) -> dict[str, float]:
    """Median seconds by name, after a round to warm up."""
    clock = time.process_time if threads == 1 else time.perf_counter
    times: dict[str, list[float]] = {form.name: [] for form in forms}
    for number in range(rounds + 1):
        for form in forms:
            start = clock()
            form.call()
            if number:
                times[form.name].append(clock() - start)
    return {name: statistics.median(each) for name, each in times.items()}


@click.command()
@click.option("--blocks", type=int, default=23, show_default=True, help="Of the tower; LLaVA-1.5 reads 23.")
@click.option("--thinning", default="6:50%", show_default=True, help="What --prune-tower is given.")
@click.option("--rounds", type=int, default=7, show_default=True, help="Of which the median is told.")
@click.option("--threads", type=int, default=1, show_default=True)
def main(blocks: int, thinning: str, rounds: int, threads: int) -> None:
    """Prints milliseconds, how many times faster than floats, and GFLOP/s."""
    with tempfile.TemporaryDirectory() as name:
        forms: list[Any] = towers(blocks, thinning, Path(name), threads)
        spec = TOWERS["clip_vision_model"](Settings("", "", {**SIZES, "num_hidden_layers": blocks}, {}), -1)
        forms += plain(spec, Path(name), threads)
        found = measure(forms, rounds, threads)
    whole = found["floats"]
    for form in forms:
        seconds = found[form.name]
        times = f"{whole / seconds:6.2f}x" if not form.name.startswith("product") else " " * 7
        click.echo(f"{form.name:<20}{seconds * 1e3:10.1f} ms{times}{form.flops / seconds / 1e9:10.1f} GFLOP/s")


if __name__ == "__main__":
    main()
