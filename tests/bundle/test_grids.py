"""A bundle whose pictures keep their shape, written and read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clasp_trt.bundle import POLICY, Bundle, FileEntry, InconsistentManifest, TensorSpec
from clasp_trt.bundle.consistency import check
from tests.bundle.grids import grid_manifest
from tests.bundle.written import build
from tests.mistakes import says


@pytest.mark.parametrize("deepstack", [0, 2])
def test_it_comes_back_as_it_was_written(tmp_path: Path, deepstack: int) -> None:
    written = build(tmp_path / "out", made_of=grid_manifest(deepstack))
    assert Bundle.open(tmp_path / "out").manifest == written.manifest
    assert written.manifest.model == grid_manifest(deepstack).model
    assert written.manifest.media == grid_manifest(deepstack).media


@pytest.mark.parametrize(
    ("graph", "name", "shape"),
    [
        ("vision", "window_valid", ("windows", 16)),
        ("vision", "features", ("frames", 2, "patches", 9)),
        ("projector", "cls_saliency", ("frames", "visual_tokens")),
        ("prune_0", "position_ids", (1, "sequence")),
        ("segment_1", "position_ids", ("slots", "sequence")),
        ("vision", "deepstack", (3, "visual_tokens", 8)),
        ("prune_0", "deepstack", (2, "visual_tokens", 9)),
        ("prune_0", "deepstack_out", (2, "visual_tokens", 8)),
        ("segment_1", "deepstack", (1, "visual_tokens", 8)),
    ],
)
def test_ports_are_those_of_its_kinds(graph: str, name: str, shape: tuple[int | str, ...]) -> None:
    made_of = grid_manifest(deepstack=2)
    files = dict.fromkeys((POLICY, *(each.path for each in made_of.graphs)), FileEntry(1, "0" * 64))
    check(replace(made_of, files=files), "clasp.json")

    def changed(port: TensorSpec) -> TensorSpec:
        return replace(port, shape=shape) if port.name == name else port

    graphs = tuple(
        replace(each, inputs=tuple(map(changed, each.inputs)), outputs=tuple(map(changed, each.outputs)))
        if each.name == graph
        else each
        for each in made_of.graphs
    )
    with pytest.raises(InconsistentManifest) as error:
        check(replace(made_of, graphs=graphs, files=files), "clasp.json")
    says(error, name)
