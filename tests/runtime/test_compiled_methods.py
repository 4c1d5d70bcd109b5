"""Bundles whose prune graphs are another method's: what they answer, what they hold, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.chain import names, port
from clasp_trt.chain.selections import READS
from clasp_trt.errors import MethodError
from clasp_trt.methods import METHODS
from clasp_trt.runtime.pipeline import load
from tests.mistakes import says

QUESTION = "How many cups are there?"
OTHERS = [name for name in READS if name != "clasp"]
PLACES = [*((name, "decoder") for name in OTHERS), ("divprune", "encoder"), ("visionzip", "encoder")]


@pytest.fixture(scope="module")
def cup(photos: dict[str, Path]) -> Path:
    return photos["coffee"]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_graphs_choose_what_the_host_chooses(built: Callable[..., Bundle], cup: Path, name: str, place: str) -> None:
    with load(built(method=name, prune_at=place).root) as graphs, load(built(prune_at=place).root, method=name) as host:
        assert graphs.method is METHODS[name]
        found, expected = (each.generate(cup, QUESTION, max_new_tokens=8) for each in (graphs, host))
    assert found.token_ids == expected.token_ids
    assert len(found.kept) == len(expected.kept) > 0
    for one, other in zip(found.kept, expected.kept, strict=True):
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.is_pivot, other.is_pivot)


@pytest.mark.parametrize("name", OTHERS)
def test_graphs_give_what_is_read_and_nothing_else(built: Callable[..., Bundle], name: str) -> None:
    bundle = built(method=name)
    manifest = Bundle.open(bundle.root).manifest
    assert manifest.method == name
    assert any(graph.name == names.GRAM for graph in manifest.graphs) is (port.GRAM in READS[name])
    given = {each.name for graph in manifest.graphs if graph.name.startswith("segment") for each in graph.outputs}
    assert (port.SALIENCY in given) is (port.SALIENCY in READS[name])
    assert bundle.policy.layers == (manifest.model.vision.feature_layer,)


@pytest.mark.parametrize(
    ("name", "other", "missing"), [("fastv", "divprune", "gram"), ("divprune", "clasp", "saliency")]
)
def test_a_method_that_reads_what_is_not_there(
    built: Callable[..., Bundle], name: str, other: str, missing: str
) -> None:
    with pytest.raises(MethodError) as refused:
        load(built(method=name).root, method=other)
    says(refused, missing, name, f"--method {other}")


@pytest.mark.parametrize("other", ["random", "uniform"])
def test_a_method_that_reads_nothing_runs_on_any(built: Callable[..., Bundle], cup: Path, other: str) -> None:
    with load(built(method="fastv").root, method=other) as one, load(built().root, method=other) as clasp:
        found, expected = (each.generate(cup, QUESTION, max_new_tokens=2) for each in (one, clasp))
    for kept, wanted in zip(found.kept, expected.kept, strict=True):
        np.testing.assert_array_equal(kept.indices, wanted.indices)
