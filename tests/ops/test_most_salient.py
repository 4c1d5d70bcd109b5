"""Which patches a tower keeps: the reference against a sort in plain Python, and the body in a graph against it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from clasp_trt.ops import most_salient

VALUES = [-1.0, -0.0, 0.0, 0.25, 0.25, 1.0, np.nan, np.inf, -np.inf]


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.sampled_from(VALUES)),
    st.data(),
)
def test_by_saliency_then_by_index(saliency: NDArray[np.float32], data: st.DataObject) -> None:
    keep = data.draw(st.integers(1, saliency.shape[1]))
    kept = most_salient(saliency, keep)
    for row, found in zip(saliency.tolist(), kept.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda each: (math.inf if math.isnan(row[each]) else -row[each], each))
        assert found == sorted(order[:keep])


@pytest.mark.parametrize("keep", [0, 4])
def test_no_other_number(keep: int) -> None:
    with pytest.raises(ValueError, match=f"keep is {keep}, expected 1 to 3"):
        most_salient(np.zeros((1, 3)), keep)


@pytest.mark.usefixtures("tracer")
@pytest.mark.parametrize(("tokens", "keep"), [(1, 1), (7, 7), (576, 100)])
def test_in_a_graph(tokens: int, keep: int) -> None:
    """Index for index, with ties and poison everywhere."""
    from clasp_trt.chain.ports import Port, Ports
    from clasp_trt.export import trace
    from clasp_trt.export.towers import thinning
    from tests.export.running import Runnable

    class Chooses(torch.nn.Module):
        def forward(self, saliency: torch.Tensor) -> torch.Tensor:
            return thinning.most_salient(saliency, keep)

    ports = Ports((Port("saliency", "float32", ("batch", tokens), ""),), (Port("kept", "int64", ("batch", keep), ""),))
    graph = Runnable(trace.capture(Chooses(), ports))
    saliency = np.random.default_rng(0).choice(np.float32(VALUES), (3, tokens))
    assert graph(saliency=saliency)["kept"].tolist() == most_salient(saliency, keep).tolist()
