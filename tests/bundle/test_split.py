"""Processors that split pictures, and the layout of their tiles, read strictly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clasp_trt.bundle import ManifestField, ManifestSyntax, Media, Medium, Sequential
from clasp_trt.bundle.media import content
from clasp_trt.bundle.media_reader import media
from clasp_trt.storage.fields import Format, parse

PIXELS = {"resample": "bicubic", "rescale": 0.5, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
TILED = {"tile": 56, "patch": 14, "merge": 2}
RATIO = {"kind": "ratio", **TILED, "least": 1, "most": 12, **PIXELS}
LONGEST = {"kind": "longest", **TILED, "longest": 200, "split": True, **PIXELS}
TILES = {
    **{"kind": "tiles", "placeholder": "<image>", "token": "<image>", "id": 7, "tile": "<{row},{column}>"},
    **{"row_end": "\n", "whole": "\n<all>", "alone": "<one>", "after": ""},
}
POSITIONS = {"kind": "sequential", "start": 0}


def _read(processor: object, layout: object = TILES) -> Medium:
    written = {"image": {"processor": processor, "layout": layout, "positions": POSITIONS}}
    format = Format(ManifestSyntax, ManifestField, "rebuild the bundle")
    return media(parse(json.dumps(written).encode(), "clasp.json", format)).image


@pytest.mark.parametrize("processor", [RATIO, LONGEST], ids=["ratio", "longest"])
def test_what_is_written_is_read(processor: dict[str, Any]) -> None:
    found = _read(processor)
    assert found.positions == Sequential(0)
    written = content(Media(found))["image"]
    assert written == {"processor": processor, "layout": TILES, "positions": POSITIONS}
    assert list(written["processor"]) == list(processor)


def test_most_that_is_read() -> None:
    assert _read({**RATIO, "tile": 4096, "most": 1}).processor.token_range == (146 * 146,) * 3
    assert _read({**LONGEST, "tile": 56, "longest": 896}).processor.sizes["batch"][2] == 257


@pytest.mark.parametrize(
    ("processor", "key", "value"),
    [
        *((RATIO, "tile", value) for value in (0, 4097, "56", 13, None)),
        *((RATIO, "patch", value) for value in (0, 57, 29)),
        *((RATIO, "merge", value) for value in (0, 5, True)),
        *((RATIO, "least", value) for value in (0, 13, 1.0)),
        *((RATIO, "most", value) for value in (0, 257, 10**9)),
        *((RATIO, "tile", value) for value in (2048, 4096)),
        *((RATIO, "resample", value) for value in ("cubic", 3)),
        (RATIO, "std", [0.5, 0.5, 0]),
        (RATIO, "longest", 200),
        *((LONGEST, "longest", value) for value in (0, 897, 4097, None)),
        *((LONGEST, "split", value) for value in (1, None, "yes")),
        (LONGEST, "mean", [0.5]),
        (LONGEST, "most", 3),
    ],
)
def test_processors_are_read_strictly(processor: dict[str, Any], key: str, value: object) -> None:
    with pytest.raises(ManifestField) as error:
        _read({**processor, key: value})
    assert "image.processor" in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in ("tile", "row_end", "whole", "alone", "after") for value in (None, 1, "x" * 1001)),
        *(("id", value) for value in (-1, 2**32)),
        ("token", ""),
        ("before", ""),
    ],
)
def test_a_layout_of_tiles_is_read_strictly(key: str, value: object) -> None:
    with pytest.raises(ManifestField) as error:
        _read(RATIO, {**TILES, key: value})
    assert "image.layout" in str(error.value)
