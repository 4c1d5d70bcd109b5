"""Nothing is computed in vain: no block beyond the deepest that is read, nothing twice, no norm after the last."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import onnx_ir as ir
import pytest

from clasp_trt.export.towers.configs import TOWERS
from tests.export.towers.test_graph import library
from tests.export.towers.test_thinning import DEEP, graph

pytestmark = pytest.mark.usefixtures("tracer")
_BLOCK = re.compile(r"tower\.encoder\.layers?\.(\d+)\.(.+)")


def _read(model: ir.Model) -> dict[int, Counter[str]]:
    """By block, counted from 1, how often each of its tensors is read."""
    found: dict[int, Counter[str]] = {}
    for name, value in model.graph.initializers.items():
        if part := _BLOCK.fullmatch(name):
            found.setdefault(int(part[1]) + 1, Counter())[part[2]] = len(list(value.uses()))
    return found


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if "clip" in kind else pytest.mark.full) for kind in TOWERS]
)
@pytest.mark.parametrize(("layers", "thins"), [((1, 2), False), ((1, 2, 4), True)])
def test_every_block_that_is_read_is_computed_once(kind: str, layers: Sequence[int], thins: bool) -> None:
    """Where [CLS] says what is salient, its one query is computed beside those of all rows; else no query is."""
    model = graph(kind, library(kind, DEEP), layers, thins=thins)
    read, watched = _read(model), {max(layers), *([2] if thins else [])}
    assert read.keys() == {*range(1, max(layers) + 1)}
    assert sum(node.op_type == "Attention" for node in model.graph) == max(layers)
    for block, tensors in read.items():
        twice = {name for name, uses in tensors.items() if uses > 1}
        own = {"weight", "bias"} if block in watched and kind != "siglip_vision_model" else set()
        assert {name.rpartition(".")[2] for name in twice if "q_proj" in name} == own
        assert all("q_proj" in name for name in twice)
    norms = sum(node.op_type == "LayerNormalization" for node in model.graph)
    assert norms == 2 * max(layers) + (kind == "clip_vision_model")
