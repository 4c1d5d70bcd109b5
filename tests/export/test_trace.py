"""Tracing on the meta device: weights become references into the checkpoint, and nothing of this machine remains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from safetensors.torch import save_file

from clasp_trt.chain.ports import Port, Ports
from clasp_trt.errors import CheckpointError
from clasp_trt.export.checkpoint import Checkpoint
from clasp_trt.export.trace import on_meta, trace
from clasp_trt.export.weights.graph import Weights
from clasp_trt.export.weights.stored import stored
from clasp_trt.export.weights.transforms import cast
from clasp_trt.targets import PORTABLE_OPSET
from tests.export.running import Runnable


class _Module(torch.nn.Module):
    """One parameter of each kind: used transposed, used twice in two ways, and used as it is; and a buffer of indices,
    the kind that may be real while the parameters are on the meta device."""

    order: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 5)
        self.square = torch.nn.Linear(5, 5, bias=False)
        self.register_buffer("order", torch.tensor([4, 0, 3, 1, 2], device="cpu"), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.square(self.linear(x))
        out: torch.Tensor = (y @ self.square.weight)[..., self.order]
        return out


def _meta() -> torch.nn.Module:
    module: torch.nn.Module = on_meta(_Module, dtype="float32")
    return module


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"linear.weight": (5, 3), "linear.bias": (5,), "square.weight": (5, 5)}
    made = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    save_file({f"net.{name}": tensor for name, tensor in made.items()}, tmp_path / "model.safetensors")
    return made


def _trace(folder: Path, module: torch.nn.Module, dtype: str = "float32") -> ir.Model:
    tensors = cast(stored(Checkpoint(folder)), "float32")
    return trace(
        module,
        Ports(
            (Port("x", "float32", ("batch", 4, 3), "what goes in"),),
            (Port("y", dtype, ("batch", 4, 5), "what comes out"),),
        ),
        weights=Weights(tensors, "net."),
        purpose="A test.",
    )


@pytest.mark.parametrize("batch", [2, *(pytest.param(count, marks=pytest.mark.full) for count in (1, 5))])
def test_a_traced_module_computes_with_the_weights_of_the_checkpoint(
    tmp_path: Path, weights: dict[str, torch.Tensor], batch: int
) -> None:
    model = _trace(tmp_path, _meta())
    real = _Module()
    real.load_state_dict(weights)
    x = torch.randn(batch, 4, 3, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = real(x).numpy()
    np.testing.assert_allclose(Runnable(model)(x=x.numpy())["y"], expected, rtol=1e-5, atol=1e-5)


def test_a_traced_graph_holds_lazy_weights_and_no_transposes_of_them(
    tmp_path: Path, weights: dict[str, torch.Tensor]
) -> None:
    graph = _trace(tmp_path, _meta()).graph
    assert isinstance(graph.initializers["linear.weight"].const_value, ir.LazyTensor)
    assert tuple(graph.initializers["linear.weight"].shape or ()) == (3, 5), "laid out for the product"
    assert tuple(graph.initializers["square.weight"].shape or ()) == (5, 5)
    transposed = [node.inputs[0] for node in graph if node.op_type == "Transpose"]
    assert graph.initializers["linear.weight"] not in transposed
    assert graph.opset_imports[""] == PORTABLE_OPSET
    lines = str(graph.doc_string).splitlines()
    assert lines == [
        "A test.",
        "in  x: float32[batch, 4, 3]  what goes in",
        "out y: float32[batch, 4, 5]  what comes out",
    ]


def test_a_traced_graph_tells_nothing_of_the_machine(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    data = ir.to_proto(_trace(tmp_path, _meta())).SerializeToString()
    for trail in (b"test_trace", b".py", b"site-packages", b"stack_trace", str(Path.home()).encode() + b"/"):
        assert trail not in data


@pytest.mark.full
def test_the_tracer_is_quiet(
    tmp_path: Path, weights: dict[str, torch.Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    _trace(tmp_path, _meta())
    assert capfd.readouterr() == ("", "")


def test_a_weight_that_the_checkpoint_lacks(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    save_file({"net.linear.weight": weights["linear.weight"]}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="lacks the tensor net"):
        _trace(tmp_path, _meta())


@pytest.mark.full
def test_an_output_of_another_dtype_is_our_bug(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    with pytest.raises(RuntimeError, match="output y"):
        _trace(tmp_path, _meta(), dtype="float16")
