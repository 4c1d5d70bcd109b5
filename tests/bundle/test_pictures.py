"""Processors of tiles and grids in a manifest, and positions, are read as strictly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clasp_trt import bundle as b
from tests.bundle.sample import PROCESSOR, altered, refused

ANYRES = {
    **{"kind": "anyres", "tile": 24, "cell": 6, "pinpoints": [[24, 48], [48, 24]], "resample": "bicubic"},
    **{"rescale": 0.00392156862745098, "mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("tile", value) for value in (0, -24, 4097, "24", None, 24.0)),
        *(("cell", value) for value in (0, 25, True)),
        *(("pinpoints", value) for value in ([], [24, 48], [[24]], [[24, 48, 24]], [[24, 36]], [[24, 0]], {}, None)),
        *(("pinpoints", value) for value in ([[24, 4104]], [[24, 48]] * 101, [["24", 48]])),
        *(("resample", value) for value in ("cubic", 3)),
        ("mean", [0.5]),
        ("std", [0.5, 0.5, 0]),
        ("rescale", 0),
        ("side", 24),
        *(("limit", value) for value in (0, 257, None, "9", True)),
    ],
)
def test_tiles_are_read_as_strictly(root: Path, key: str, value: object) -> None:
    content = altered(PROCESSOR, {**ANYRES, key: value})
    (root / "clasp.json").write_text(json.dumps(content))
    refused(root, b.ManifestField, "media.image.processor")


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([16, 16, 16], "media.image.processor makes [16, 52, 56]"),
        ([16, 52, 56], "schedule.tokens: 16"),
    ],
)
def test_tiles_of_other_sizes_than_the_graphs(root: Path, tokens: list[int], said: str) -> None:
    content = altered(PROCESSOR, ANYRES)
    content["model"]["tokens"] = tokens
    (root / "clasp.json").write_text(json.dumps(content))
    refused(root, b.InconsistentManifest, said)


GRID = {
    **{"kind": "grid", "patch": 14, "merge": 2, "time": 2, "least_pixels": 3136, "most_pixels": 12544},
    **{"resample": "bicubic", "rescale": 0.00392156862745098, "window": 8, "table": None},
    **{"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in ("patch", "merge", "time") for value in (0, -1, 257, "2", None, 2.0, True)),
        *(("least_pixels", value) for value in (0, 12545, None)),
        *(("most_pixels", value) for value in (3135, 2**26 + 1, "12544")),
        *(("window", value) for value in (0, 7, 258, "8")),
        *(("table", value) for value in (0, 1, 1025, True)),
        ("resample", "cubic"),
        ("mean", [0.5]),
        ("std", [0.5, 0.5, 0]),
        ("rescale", 0),
        ("side", 24),
    ],
)
def test_grids_are_read_as_strictly(root: Path, key: str, value: object) -> None:
    content = altered(PROCESSOR, {**GRID, key: value})
    (root / "clasp.json").write_text(json.dumps(content))
    refused(root, b.ManifestField, "media.image.processor")


@pytest.mark.parametrize("rate", [0, -1, "2", True, 256])
def test_positions_of_three_axes_are_read_as_strictly(root: Path, rate: object) -> None:
    content = altered(("media", "image", "positions"), {"kind": "grid", "rate": rate})
    (root / "clasp.json").write_text(json.dumps(content))
    refused(root, b.ManifestField, "media.image.positions.rate")


def test_positions_of_more_axes_than_the_decoder(root: Path) -> None:
    content = altered(("media", "image", "positions"), {"kind": "grid", "rate": None})
    (root / "clasp.json").write_text(json.dumps(content))
    refused(root, b.InconsistentManifest, "model.decoder.axes: 1, but media.image.positions of kind 'grid' have 3")


def test_a_grid_whose_graph_takes_squares(root: Path) -> None:
    content = altered(PROCESSOR, GRID)
    content["model"]["tokens"] = [4, 12, 56]
    content["schedule"]["tokens"] = 56
    (root / "clasp.json").write_text(json.dumps(content))
    refused(root, b.InconsistentManifest, "patches float32[frames, patches, 1176]")
