"""Bundles of rounded weights on ONNX Runtime: what runs them, and what does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import onnx
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.errors import BackendError
from clasp_trt.runtime.backends import ort
from clasp_trt.runtime.pipeline import load
from tests.mistakes import says


@pytest.fixture
def bundle(built: Callable[..., Bundle]) -> Bundle:
    return built(quantize="int4:32")


@pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")
def test_on_a_cpu_integers_are_multiplied(bundle: Bundle) -> None:
    found: Counter[str] = Counter()
    for graph in bundle.manifest.graphs:
        model = onnx.load(bundle.path(graph.path), load_external_data=False)
        found.update(node.op_type for node in model.graph.node)
    decoder = bundle.manifest.model.decoder.layers
    # queries, keys and values are one product where all rows are wanted, and so are gate and up: 4 a layer instead of 7
    assert 4 * decoder <= found["MatMulNBits"] < 7 * decoder
    assert found["MatMulIntegerToFloat"] > 10
    assert "DequantizeLinear" not in found
    assert bundle.manifest.multiplies_integers


@pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")
def test_text_is_answered(bundle: Bundle) -> None:
    with load(bundle.root, threads=1) as pipeline:
        assert len(pipeline.generate(None, "Tell me about cats.", max_new_tokens=4).token_ids) > 0


@pytest.mark.filterwarnings("ignore::clasp_trt.notice.Notice")
def test_a_gpu_has_no_such_products(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort.ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(BackendError) as refused:
        ort.open_backend(bundle, provider="cuda")
    says(refused, bundle.root, "cuda", "--provider cpu")
