"""Bundles from before a step could serve several slots, made of new ones: their decoder's ports begin with a 1."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import onnx_ir as ir

from clasp_trt.chain import port


def one_slot(bundle: Path, to: Path) -> Path:
    """A copy at ``to`` of the portable bundle at ``bundle``, or of one whose backend runs its graphs as they are."""
    shutil.copytree(bundle, to)
    manifest = json.loads((to / "clasp.json").read_text(encoding="utf-8"))
    for graph in manifest["graphs"]:
        path = to / graph["path"]
        model = ir.load(path)
        for value in (*model.graph.inputs, *model.graph.outputs):
            assert value.shape is not None
            value.shape = ir.Shape([1 if str(dim) == port.SLOTS else dim for dim in value.shape])
        ir.save(model, path)
        data = path.read_bytes()
        manifest["files"][graph["path"]] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (to / "clasp.json").write_text(json.dumps(with_one_slot(manifest)), encoding="utf-8")
    return to


def with_one_slot(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with a 1 wherever a port has slots."""
    graphs = [
        {**graph, **{side: [_narrowed(each) for each in graph[side]] for side in ("inputs", "outputs")}}
        for graph in manifest["graphs"]
    ]
    return {**manifest, "graphs": graphs}


def _narrowed(tensor: dict[str, Any]) -> dict[str, Any]:
    return {**tensor, "shape": [1 if dim == port.SLOTS else dim for dim in tensor["shape"]]}
