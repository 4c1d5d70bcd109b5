"""The graphs around the decoder against numpy: embedding, Gram matrix, and one prune per stage."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clasp_trt.chain import Prune
from clasp_trt.export.pruning.prune import embed_graph, gram_graph, greedy_graph, prune_graph
from clasp_trt.operators import DOMAIN, PIVOT_SELECT, PLUGIN_NAMESPACE, SPHERICAL_KMEANS
from clasp_trt.ops import GRAM_STEPS, select, token_gram
from tests.export.running import Runnable

WIDTH = 6


# --- embedding ----------------------------------------------------------------------------------------------


def _embed(dtype: str = "float32") -> tuple[Runnable, NDArray[Any]]:
    table = np.random.default_rng(0).standard_normal((11, WIDTH)).astype(dtype)
    return Runnable(embed_graph(ir.tensor(table), WIDTH, dtype)), table


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_visual_tokens_take_the_rows_that_the_index_names(dtype: str) -> None:
    embed, table = _embed(dtype)
    ids = np.array([[1, 9, 9, 9, 4, 10, 0]])
    visual = np.random.default_rng(1).standard_normal((1, 3, WIDTH)).astype(dtype)
    hidden = embed(input_ids=ids, visual=visual, visual_index=np.array([1, 2, 3]))["hidden"]
    expected = table[ids]
    expected[0, 1:4] = visual[0]
    np.testing.assert_array_equal(hidden, expected)


@pytest.mark.parametrize("rows", [1, 5])
def test_text_alone(rows: int) -> None:
    embed, table = _embed()
    ids = np.arange(rows)[None]
    nothing = np.zeros((1, 0, WIDTH), dtype=np.float32)
    hidden = embed(input_ids=ids, visual=nothing, visual_index=np.zeros(0, dtype=np.int64))["hidden"]
    np.testing.assert_array_equal(hidden, table[ids])


# --- Gram matrix --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [9, None], ids=["nine", "any"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gram(dtype: str, tokens: int | None) -> None:
    x = np.random.default_rng(2).standard_normal((2, 9, WIDTH)).astype(dtype)
    x[0, 3], x[1, 4, 0] = 0, np.inf
    gram = Runnable(gram_graph(tokens, WIDTH, dtype))(visual=x)["gram"]
    assert np.abs(gram - token_gram(x)).max() <= 1 / GRAM_STEPS
    assert np.diagonal(gram[0]).tolist() == [1, 1, 1, 0, 1, 1, 1, 1, 1]


# --- one stage ----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    tokens_keep=st.sampled_from([(1, 1), (2, 1), (5, 4), (5, 5), (13, 4), (13, 12)]),
    before=st.integers(0, 4),
    after=st.integers(1, 5),
    last=st.booleans(),
    varies=st.booleans(),
    dtype=st.sampled_from(["float32", "float16"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_stage(
    tokens_keep: tuple[int, int], before: int, after: int, last: bool, varies: bool, dtype: str, seed: int
) -> None:
    """One graph for each size, or one for all of them, which takes as many ranks as shall stay."""
    tokens, keep = tokens_keep
    rng = np.random.default_rng(seed)
    rows = before + tokens + after
    hidden = rng.standard_normal((1, rows, WIDTH)).astype(dtype)
    hidden[0, rng.integers(rows)] = np.nan  # must stay in its row
    positions = np.sort(rng.choice(1000, rows, replace=False))[None]
    saliency = rng.choice(np.array([0.0, 0.5, 1.0, np.nan], dtype=np.float32), (1, tokens))
    count = np.array([rng.integers(0, keep + 1)])
    x = rng.standard_normal((1, tokens, 3))
    gram = token_gram(x)
    visual_index, reference_index = np.arange(before, before + tokens), np.arange(before + tokens, rows)

    stage = _prune_any(dtype, last) if varies else _prune(tokens, keep, dtype, last)
    found = stage(
        **({"ranks": np.arange(keep)} if varies else {}),
        hidden=hidden,
        position_ids=positions,
        saliency=saliency,
        gram=gram,
        pivot_count=count,
        visual_index=visual_index,
        reference_index=reference_index,
    )

    kept, is_pivot = select(saliency, x, count, keep)
    stay = np.r_[0:before, before + kept[0], before + tokens : rows]
    np.testing.assert_array_equal(found["kept"], kept)
    np.testing.assert_array_equal(found["is_pivot"], is_pivot)
    np.testing.assert_array_equal(found["hidden_out"], hidden[:, stay])
    np.testing.assert_array_equal(found["position_ids_out"], positions[:, stay])
    if last:
        assert set(found) == {"kept", "is_pivot", "hidden_out", "position_ids_out"}
    else:
        np.testing.assert_array_equal(found["gram_out"], gram[:, kept[0]][:, :, kept[0]])
        np.testing.assert_array_equal(found["visual_index_out"], np.flatnonzero(np.isin(stay, visual_index)))
        np.testing.assert_array_equal(found["reference_index_out"], np.flatnonzero(np.isin(stay, reference_index)))


_made: dict[tuple[int, int, str, bool], Runnable] = {}


def _prune(tokens: int, keep: int, dtype: str, last: bool) -> Runnable:
    key = (tokens, keep, dtype, last)
    if key not in _made:
        _made[key] = Runnable(prune_graph(Prune("prune_0", 0, tokens, keep, last), WIDTH, dtype))
    return _made[key]


@functools.cache
def _prune_any(dtype: str, last: bool) -> Runnable:
    return Runnable(prune_graph(Prune("prune_0", 0, 100, 50, last, varies=True), WIDTH, dtype))


def test_visual_tokens_need_not_lie_together() -> None:
    """Rows are moved by index alone, so text between visual tokens stays where it is."""
    gram = token_gram(np.eye(4)[None])
    found = _prune(4, 2, "float32", False)(
        hidden=np.arange(8 * WIDTH, dtype=np.float32).reshape(1, 8, WIDTH),
        position_ids=np.arange(8)[None],
        saliency=np.array([[0, 1, 0, 2]], dtype=np.float32),
        gram=gram,
        pivot_count=np.array([2]),
        visual_index=np.array([0, 2, 3, 6]),
        reference_index=np.array([4, 7]),
    )
    assert found["position_ids_out"].tolist() == [[1, 2, 4, 5, 6, 7]]
    assert found["visual_index_out"].tolist() == [1, 4]
    assert found["reference_index_out"].tolist() == [2, 5]


@pytest.mark.parametrize("varies", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_rows_keep_all_their_positions(varies: bool, last: bool) -> None:
    stage = Runnable(prune_graph(Prune("prune_0", 0, 4, 2, last, varies=varies), WIDTH, "float32", axes=3))
    positions = np.random.default_rng(4).integers(0, 50, (3, 1, 8))
    found = stage(
        **({"ranks": np.arange(2)} if varies else {}),
        hidden=np.arange(8 * WIDTH, dtype=np.float32).reshape(1, 8, WIDTH),
        position_ids=positions,
        saliency=np.array([[0, 1, 0, 2]], dtype=np.float32),
        gram=token_gram(np.eye(4)[None]),
        pivot_count=np.array([2]),
        visual_index=np.array([0, 2, 3, 6]),
        reference_index=np.array([4, 7]),
    )
    np.testing.assert_array_equal(found["position_ids_out"], positions[:, :, [1, 2, 4, 5, 6, 7]])
    np.testing.assert_array_equal(found["hidden_out"][0, :, 0], WIDTH * np.array([1, 2, 4, 5, 6, 7]))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("after", [-1, 1])
def test_what_is_still_to_be_added_stays_for_the_kept(last: bool, after: int) -> None:
    graph = prune_graph(Prune("prune_0", after, 4, 2, last, varies=True), WIDTH, "float32", deepstack=3)
    additions = np.random.default_rng(5).standard_normal((3, 4, WIDTH)).astype(np.float32)
    feed = {
        "hidden": np.arange(8 * WIDTH, dtype=np.float32).reshape(1, 8, WIDTH),
        "position_ids": np.arange(8)[None],
        "saliency": np.array([[0, 1, 0, 2]], dtype=np.float32),
        "gram": token_gram(np.eye(4)[None]),
        "pivot_count": np.array([2]),
        "ranks": np.arange(2),
        "visual_index": np.array([0, 2, 3, 6]),
        "reference_index": np.array([4, 7]),
    }
    found = Runnable(graph)(**feed, deepstack=additions)
    np.testing.assert_array_equal(found["deepstack_out"], additions[:, [1, 3]])
    assert found["visual_index_out"].tolist() == [1, 4]
    assert ("gram_out" in found) is not last


@pytest.mark.parametrize("varies", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_what_rows_see_is_counted_among_those_that_stay(varies: bool, last: bool) -> None:
    """Rows 0 and 3 go: a first that goes is the next that stays, an end follows the last that stays."""
    graph = prune_graph(Prune("prune_0", 0, 4, 2, last, varies=varies), WIDTH, "float32", visible="blocks")
    rng = np.random.default_rng(6)
    first = np.minimum(rng.integers(0, 8, 8), np.arange(8))
    end = np.maximum(rng.integers(1, 9, 8), np.arange(8) + 1)
    found = Runnable(graph)(
        **({"ranks": np.arange(2)} if varies else {}),
        hidden=np.zeros((1, 8, WIDTH), dtype=np.float32),
        position_ids=np.arange(8)[None],
        visible=np.stack([first, end])[:, None],
        saliency=np.array([[0, 1, 0, 2]], dtype=np.float32),
        gram=token_gram(np.eye(4)[None]),
        pivot_count=np.array([2]),
        visual_index=np.array([0, 2, 3, 6]),
        reference_index=np.array([4, 7]),
    )
    rows = np.array([1, 2, 4, 5, 6, 7])
    expected = [[(rows < first[row]).sum(), (rows < end[row]).sum()] for row in rows]
    assert found["visible_out"].tolist() == [[list(column)] for column in zip(*expected, strict=True)]


def test_text_alone_is_scaled() -> None:
    table = np.random.default_rng(0).standard_normal((11, WIDTH)).astype(np.float32)
    embed = Runnable(embed_graph(ir.tensor(table), WIDTH, "float32", scale=6.5))
    visual = np.random.default_rng(1).standard_normal((1, 2, WIDTH)).astype(np.float32)
    hidden = embed(input_ids=np.array([[1, 9, 9, 4]]), visual=visual, visual_index=np.array([1, 2]))["hidden"][0]
    np.testing.assert_array_equal(hidden, [table[1] * np.float32(6.5), *visual[0], table[4] * np.float32(6.5)])


def test_nothing_is_carried_once_all_is_added() -> None:
    graph = prune_graph(Prune("prune_0", 2, 4, 2, last=True), WIDTH, "float32", deepstack=3)
    assert "deepstack" not in {value.name for value in (*graph.graph.inputs, *graph.graph.outputs)}


def test_the_nodes_tell_a_plugin_what_the_bodies_were_made_for() -> None:
    model = prune_graph(Prune("prune_0", 0, 9, 4, last=True), WIDTH, "float32")
    nodes = {node.op_type: node.attributes for node in model.graph if node.domain == DOMAIN}
    assert set(nodes) == {PIVOT_SELECT.name, SPHERICAL_KMEANS.name}
    for contract in (PIVOT_SELECT, SPHERICAL_KMEANS):
        attributes = nodes[contract.name]
        assert attributes.get_int("keep") == 4
        assert attributes.get_string("plugin_namespace") == PLUGIN_NAMESPACE
        assert attributes.get_string("plugin_version") == str(contract.version)
        body = model.functions[(DOMAIN, contract.name, "")]
        assert set(body.attributes) == set(contract.attributes)
        assert [port.name for port in body.inputs] == list(contract.inputs)
        assert [port.name for port in body.outputs] == list(contract.outputs)


def test_the_graph_of_a_large_image_stays_small() -> None:
    proto = ir.to_proto(prune_graph(Prune("prune_0", 0, 576, 300, last=False), 8, "float32"))
    assert proto.ByteSize() < 200_000


# --- the choice of a token ----------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=40))
@settings(deadline=None)
def test_the_lowest_of_the_most_likely_tokens(logits: list[float]) -> None:
    row = np.array(logits, dtype=np.float32)
    token = Runnable(greedy_graph(len(row)))(logits=row[None, None])["token"]
    assert token.tolist() == [[int(np.argmax(row))]]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 3, 6])
def test_no_token_where_a_logit_is_not_finite(broken: float, place: int) -> None:
    row = np.linspace(-1, 1, 7, dtype=np.float32)
    row[place] = broken
    assert Runnable(greedy_graph(7))(logits=row[None, None])["token"].tolist() == [[-1]]
