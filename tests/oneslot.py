"""Bundles from before a step could serve several slots, or score several rows, made of new ones: their decoder's ports
begin with a 1, or give the logits of the last row without being told."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir

from clasp_trt.chain import port

_SIDES = ("inputs", "outputs")


def one_slot(bundle: Path, to: Path) -> Path:
    """A copy at ``to`` of the portable bundle at ``bundle``, or of one whose backend runs its graphs as they are."""

    def narrow(graph: ir.Graph) -> None:
        _score_last(graph)
        _fix(graph, port.SLOTS)

    return _copied(bundle, to, narrow, with_one_slot)


def one_row(bundle: Path, to: Path) -> Path:
    """The same with any number of slots."""
    return _copied(bundle, to, _score_last, with_one_row)


def _copied(
    bundle: Path, to: Path, change: Callable[[ir.Graph], None], restated: Callable[[dict[str, Any]], dict[str, Any]]
) -> Path:
    shutil.copytree(bundle, to)
    manifest = json.loads((to / "clasp.json").read_text(encoding="utf-8"))
    for graph in manifest["graphs"]:
        path = to / graph["path"]
        model = ir.load(path)
        change(model.graph)
        ir.save(model, path)
        data = path.read_bytes()
        manifest["files"][graph["path"]] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (to / "clasp.json").write_text(json.dumps(restated(manifest)), encoding="utf-8")
    return to


def _score_last(graph: ir.Graph) -> None:
    """The graph knows by itself that the last row is scored: an index of -1."""
    _fix(graph, port.SCORES)
    for scored in [each for each in graph.inputs if each.name == port.SCORED]:
        graph.inputs.remove(scored)
        last = ir.node("Constant", [], {"value": ir.tensor([-1])})
        graph.insert_before(graph[0], last)
        ir.convenience.replace_all_uses_with(scored, last.outputs[0])


def _fix(graph: ir.Graph, name: str) -> None:
    """A dimension of its ports is 1."""
    for value in (*graph.inputs, *graph.outputs):
        assert value.shape is not None
        value.shape = ir.Shape([1 if str(dim) == name else dim for dim in value.shape])


def with_one_row(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest without rows that are told, and a 1 wherever a port has scores."""
    return _restated(manifest, port.SCORES)


def with_one_slot(manifest: dict[str, Any]) -> dict[str, Any]:
    """The same with a 1 wherever a port has slots too."""
    return _restated(manifest, port.SLOTS, port.SCORES)


def _restated(manifest: dict[str, Any], *dims: str) -> dict[str, Any]:
    def narrowed(tensor: dict[str, Any]) -> dict[str, Any]:
        return {**tensor, "shape": [1 if dim in dims else dim for dim in tensor["shape"]]}

    graphs = [
        {**graph, **{side: [narrowed(each) for each in graph[side] if each["name"] != port.SCORED] for side in _SIDES}}
        for graph in manifest["graphs"]
    ]
    return {**manifest, "graphs": graphs}
