"""The names and ports that the chain states are those of graphs that are exported, and of no other place."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.chain import Chain, names, port, ports, vision_ports
from clasp_trt.tensors import FLOATS
from tests.house import FOLDERS, PACKAGE

NAMED = re.compile(
    r"embed|greedy|(segment|prune)_[0-9]*|(past|present)_((key|value)_[0-9]*)?"
    r"|write_index|kv_length|visual_index|reference_index|cls_saliency|hidden_out"
)
"""What only the chain has; ``vision`` is also a part of a model, ``gram`` a tensor of an operator."""


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prune_at": "encoder"},
        *(pytest.param(each, marks=pytest.mark.full) for each in ({"prune_at": "none"}, {"precision": "fp16"})),
    ],
)
def test_a_built_bundle_has_the_chain_s_graphs_and_ports(built: Callable[..., Bundle], options: dict[str, str]) -> None:
    manifest = built(**options, target=None).manifest
    chain = Chain.of(manifest.schedule)
    assert [graph.name for graph in manifest.graphs] == list(chain.names())
    graphs = {graph.name: graph for graph in manifest.graphs}
    dtype = FLOATS[manifest.precision]
    stated = dict(ports.decoder(chain, manifest.model.decoder, manifest.max_context, dtype))
    assert [*stated] == list(chain.names())[2:]
    for name, (inputs, outputs) in stated.items():
        assert graphs[name].inputs == tuple(each.spec for each in inputs)
        assert graphs[name].outputs == tuple(each.spec for each in outputs)


def test_a_cache_is_known_by_its_name() -> None:
    key, value = port.caches(7)
    assert port.present_of(port.past(key)) == port.present(key)
    assert port.past_of(port.present(value)) == port.past(value)
    assert port.is_past(port.past(key))
    assert port.is_present(port.present(key))
    assert not port.is_past(port.present(key))
    assert port.layers([port.HIDDEN, *map(port.past, (*port.caches(0), *port.caches(1)))]) == 2


@pytest.mark.parametrize(("name", "is_segment", "is_prune"), [
    (names.segment(0), True, False), (names.prune(12), False, True), ("segment_", False, False),
    ("segment_x", False, False), ("prune", False, False), (names.GRAM, False, False),
])  # fmt: skip
def test_a_numbered_graph_is_known_by_its_name(name: str, is_segment: bool, is_prune: bool) -> None:
    assert (names.is_segment(name), names.is_prune(name)) == (is_segment, is_prune)


def _literals(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a module that is no docstring, an f-string by its fixed beginning."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {id(each) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for each in node.values[1:]}
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts | said:
            yield node.lineno, node.value


@pytest.mark.parametrize("folder", ["bundle", "tools", *FOLDERS])
def test_no_graph_or_cache_is_named_outside_the_chain(folder: str) -> None:
    files = sorted((PACKAGE / folder).resolve().rglob("*.py"))
    assert files
    found = [(str(path), line, text) for path in files for line, text in _literals(path) if NAMED.fullmatch(text)]
    assert found == []


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ((None, None), []),
        (
            (8, None),
            [("window_rows", ("window_slots",)), ("window_valid", ("windows", 64)), ("row_slots", ("patches",))],
        ),
        ((None, 48), [("table_index", ("patches", 4)), ("table_weight", ("patches", 4))]),
    ],
)
def test_a_grid_of_any_size_is_one_graph_s(
    kind: tuple[int | None, int | None], more: list[tuple[str, tuple[object, ...]]]
) -> None:
    found = vision_ports.grid_vision(2, 1176, 32, 4, "float16", window=kind[0], table=kind[1])
    always = [("patches", ("frames", "patches", 1176)), ("positions", (2, "patches"))]
    assert [(each.name, each.shape) for each in found.inputs] == always + more
    projected = vision_ports.merging_projector(2, 32, 48, "float16")
    assert [each.spec for each in found.outputs] == [projected.inputs[0].spec, projected.inputs[2].spec]


def test_what_the_decoder_s_first_layers_add_is_of_its_width() -> None:
    (*_, last) = vision_ports.grid_vision(1, 1536, 32, 4, "float16", table=48, deepstack=(3, 48)).outputs
    assert (last.name, last.shape) == ("deepstack", (3, "visual_tokens", 48))
