"""TensorRT reads every lowered graph of a bundle; its parser is the one that TensorRT for RTX brings."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.engines.lowering import lower_file

# What TensorRT 10.1 reads, of what we use: docs/operators.md of its parser, branch 10.1-GA.
KNOWN_TO_10 = """
    Abs Add And ArgMax Cast CastLike Clip Concat Constant ConstantOfShape Conv CumSum Div Equal Expand Floor Gather
    GatherElements GatherND Gelu Greater Identity IsNaN LayerNormalization Less LessOrEqual MatMul Mul Not Or Range
    ReduceMax ReduceMean ReduceMin ReduceSum Reshape Round ScatterElements ScatterND Shape Sigmoid Slice Softmax
    Split Sqrt Squeeze Sub TopK Transpose Unsqueeze Where
"""


def _lowered(bundle: Bundle, to: Path, opset: int) -> list[Path]:
    root = Path(shutil.copytree(bundle.root / "graphs", to / "graphs")).parent
    paths = [root / graph.path for graph in bundle.manifest.graphs]
    for path in paths:
        lower_file(path, opset, inline=True)
    return paths


def test_opset_20_is_made_of_what_tensorrt_10_knows(built: Callable[..., Bundle], tmp_path: Path) -> None:
    for path in _lowered(built(precision="fp16"), tmp_path, 20):
        used = {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
        assert used <= set(KNOWN_TO_10.split()), path.name


@pytest.mark.trt
@pytest.mark.parametrize("opset", [20, 22, 23, 24])
def test_every_graph_is_parsed(built: Callable[..., Bundle], tmp_path: Path, opset: int) -> None:
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    for path in _lowered(built(precision="fp16"), tmp_path, opset):
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, logger)
        parsed = parser.parse_from_file(str(path))
        assert parsed, f"{path.name}: {[parser.get_error(n).desc() for n in range(parser.num_errors)]}"
        assert network.num_layers > 0
