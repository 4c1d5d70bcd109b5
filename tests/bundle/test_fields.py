"""Every field of a manifest is read strictly: its type, its range, and no other keys."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from clasp_trt import bundle as b
from tests.bundle.sample import (
    INTEGER_PLACES,
    LAYOUT,
    POSITIONS,
    PROCESSOR,
    SPARSE,
    VALID,
    Place,
    altered,
    entry,
    name_of,
    refused,
    without,
)

STRING_PLACES: list[Place] = [
    ("model", "model_type"),
    ("model", "name"),
    (*LAYOUT, "placeholder"),
    (*LAYOUT, "token"),
    ("versions", "clasp-trt"),
    ("graphs", 0, "name"),
    ("graphs", 0, "path"),
    ("graphs", 0, "inputs", 0, "name"),
    ("segments", 0, "graph"),
    ("files", "policy.json", "sha256"),
]
CHOICE_PLACES: list[Place] = [
    ("precision",),
    ("prune_at",),
    ("backend",),
    ("target",),
    ("graphs", 0, "inputs", 0, "dtype"),
    ("model", "vision", "saliency"),
    ("model", "decoder", "visible"),
    (*PROCESSOR, "resample"),
]
ARRAY_PLACES: list[Place] = [
    ("model", "tokens"),
    (*PROCESSOR, "mean"),
    (*PROCESSOR, "std"),
    ("model", "stop_token_ids"),
    ("schedule", "stages"),
    ("graphs",),
    ("graphs", 0, "inputs"),
    ("graphs", 0, "outputs"),
    ("graphs", 0, "inputs", 0, "shape"),
    ("segments",),
]
RECORD_PLACES: list[Place] = [
    ("model",),
    ("model", "vision"),
    ("model", "decoder"),
    ("media",),
    ("media", "image"),
    PROCESSOR,
    LAYOUT,
    POSITIONS,
    ("schedule",),
    ("schedule", "stages", 0),
    ("graphs", 0),
    ("graphs", 0, "inputs", 0),
    ("segments", 0),
    ("files", "policy.json"),
]
NULLABLE: list[Place] = [("budget",), (*PROCESSOR, "shortest_edge")]
OBJECT_PLACES: list[Place] = [*RECORD_PLACES, ("versions",), ("files",)]

WRONG: list[tuple[Place, Any]] = [
    *((place, value) for place in STRING_PLACES for value in (None, 1, True, [], {}, "", "a\u0000", "\u001b[2J")),
    *(
        (place, "x" * 256)
        for place in (("graphs", 0, "name"), ("graphs", 0, "inputs", 0, "name"), ("versions", "onnx"))
    ),
    *((place, "x" * 5000) for place in (("model", "name"), (*LAYOUT, "token"))),
    (("graphs", 0, "inputs", 0, "shape", 0), "x" * 256),
    *((place, value) for place in CHOICE_PLACES for value in (None, 1, [], {}, "", "float64", "FP16")),
    *((place, value) for place in INTEGER_PLACES for value in (True, 1.0, "1", [], -2, 2**63)),
    *((place, None) for place in INTEGER_PLACES if place not in NULLABLE),
    *((place, 3.5) for place in INTEGER_PLACES),
    *(((*PROCESSOR, key), 4097) for key in ("side", "shortest_edge")),
    *(((*PROCESSOR, "size"), value) for value in (24, [24], [24, 24, 24], [24, 4097], [0, 24], "24", {}, [24, 24])),
    *(((*PROCESSOR, "rescale"), value) for value in (None, True, "1", [], 0, -1, 255.5, 10**400)),
    *(((*PROCESSOR, "mean"), value) for value in ([0, 0], [0] * 4, [0, 0, "0"], [0, 0, True], [0, 256, 0])),
    *(((*PROCESSOR, "std"), value) for value in ([1, 1], [1] * 4, [1, 1, 0], [1, -1, 1], [1, 1, 256])),
    ((*PROCESSOR, "cell"), 25),
    *(((*LAYOUT, key), value) for key in ("before", "after") for value in (None, 1, [], "x" * 1001)),
    ((*LAYOUT, "id"), 2**32),
    ((*POSITIONS, "start"), 2),
    (("model", "decoder", "axes"), 4),
    *((("model", "tokens"), value) for value in ([16, 16], [16] * 4, [16, 15, 16], [17, 16, 16], [0, 16, 16])),
    *((place, value) for place in ARRAY_PLACES for value in (None, 1, "text", {}, [None], [[]])),
    *((place, value) for place in OBJECT_PLACES for value in (None, 1, "text", [])),
]


@pytest.mark.parametrize(("place", "value"), WRONG, ids=lambda value: str(value)[:60])
def test_a_field_of_a_wrong_type_or_range(root: Path, place: Place, value: Any) -> None:
    if place[-1] == "shape" and value in ([None], [[]]):
        place, value = (*place, 0), value[0]
    (root / "clasp.json").write_text(json.dumps(altered(place, value)))
    keyed = f"files['{place[1]}']" if place[0] == "files" and len(place) > 1 else ""
    keyed = f"versions['{place[1]}']" if place[0] == "versions" and len(place) > 1 else keyed
    refused(root, b.ManifestField, "clasp.json: ", keyed or str(place[0]))


@pytest.mark.parametrize("place", [(), *RECORD_PLACES], ids=name_of)
def test_every_key_is_needed_and_no_other_is_known(root: Path, place: Place) -> None:
    record: Any = VALID
    for step in place:
        record = record[step]
    for key in record:
        (root / "clasp.json").write_text(json.dumps(without((*place, key))))
        refused(root, b.ManifestField, key)
    (root / "clasp.json").write_text(json.dumps(altered((*place, "extra\u001b"), 1)))
    refused(root, b.ManifestField, "unknown key", r"extra\x1b")


@pytest.mark.parametrize("place", [PROCESSOR, LAYOUT, POSITIONS], ids=name_of)
def test_a_kind_that_is_not_known(root: Path, place: Place) -> None:
    """Before its other keys: they are those of that kind."""
    (root / "clasp.json").write_text(json.dumps(altered(place, {"kind": "gr\u00efd", "novelty": 1})))
    refused(
        root, b.UnknownKind, f"{name_of(place)}.kind: 'gr\\xefd'", VALID["media"]["image"][place[-1]]["kind"], "upgrade"
    )
    for value in (None, 1, [], "", "a\u0000"):
        (root / "clasp.json").write_text(json.dumps(altered((*place, "kind"), value)))
        refused(root, b.ManifestField, f"{name_of(place)}.kind")


def test_more_tokens_than_a_selection_takes(root: Path) -> None:
    large = altered((*PROCESSOR,), {**VALID["media"]["image"]["processor"], "side": 129, "cell": 1})
    large["model"]["tokens"], large["schedule"]["tokens"] = [16641] * 3, 16641
    (root / "clasp.json").write_text(json.dumps(large))
    refused(root, b.InconsistentManifest, "model.tokens: 16641, but one selection handles 16384")


@pytest.mark.parametrize(
    "digest", ["0" * 63, "0" * 65, "G" * 64, hashlib.sha256(b"").hexdigest().upper(), "0" * 63 + "\u0660"]
)
def test_a_hash_that_is_none(root: Path, digest: str) -> None:
    (root / "clasp.json").write_text(json.dumps(altered(("files", "policy.json", "sha256"), digest)))
    refused(root, b.ManifestField, "files['policy.json'].sha256", "64 lowercase hexadecimal digits")


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../out/policy.json", "graphs/../../x", "..", ".", "./policy.json", "graphs/./decoder.onnx"),
        *("graphs//decoder.onnx", "graphs/", "//host/share", "graphs\\decoder.onnx", "..\\x", "C:x", "C:\\x", "~/x"),
        *("policy.json ", "caf\u00e9", "a" * 256, "/".join(["a" * 200] * 6), "%2e%2e/x", "file:///etc/passwd"),
    ],
)
def test_a_path_that_leaves_or_does_not_travel(root: Path, path: str) -> None:
    (root / "clasp.json").write_text(json.dumps(altered(("graphs", 0, "path"), path)))
    refused(root, b.UnsafePath, "graphs[0].path")
    (root / "clasp.json").write_text(json.dumps(altered(("files", path), entry(b""))))
    refused(root, b.UnsafePath, "files: ")


INT8 = {"bits": 8, "block": None}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("model", "source"), {"repository": "a/b", "revision": None}),
        (("model", "source"), {"repository": "", "revision": None, "commit": None}),
        (("model", "source"), {"repository": "a/b", "revision": 3, "commit": None}),
        (("model", "source"), None),
        ((*PROCESSOR, "longest_edge"), 0),
        ((*PROCESSOR, "longest_edge"), None),
        *(((*PROCESSOR, "pool"), value) for value in (None, True, 0, 1, 3, 5, "2")),  # of 4 cells a side
        *((("model", "decoder", "window"), value) for value in (None, True, 0, -1, 2.0, "8")),
        *((("media", "images"), value) for value in (None, True, 0, 1, 101, 2.0, "2", [2])),
        *((("sparsity",), value) for value in (None, True, "2:4", [], {}, {"asked": "2:4"}, {**SPARSE, "more": 1})),
        *(
            (("sparsity",), {**SPARSE, "asked": value})
            for value in (None, 0.5, "0.50", ".5", "1", "3:2", "2:4,wanda", "")
        ),
        *((("sparsity",), {**SPARSE, "scores": value}) for value in (None, "", "TAMP", "sparsegpt")),
        *((("sparsity",), {**SPARSE, "data": value}) for value in (1, "", "0" * 63, "A" * 64)),
        *((("sparsity",), {**SPARSE, "zeros": value}) for value in (None, -1, 50.0, True, 101)),
        *(
            (("sparsity",), {**SPARSE, name: value})
            for name in ("weights", "rows", "tokens")
            for value in (None, 0, 1.5)
        ),
        *((("quantization",), value) for value in (None, True, "int4", [], {}, {"tower": INT8})),
        *(
            (("quantization",), {"decoder": value})
            for value in (None, "int8", [], {}, {"bits": 8}, {**INT8, "axis": 0})
        ),
        *((("quantization",), {"decoder": {"bits": value, "block": None}}) for value in (None, "8", 8.0, 2, 4, 5, 16)),
        *((("quantization",), {"decoder": {"bits": 4, "block": value}}) for value in (0, True, "32", 8, 31, 32.0, 256)),
        (("quantization",), {"decoder": {"bits": 8, "block": 256}}),
        *((("quantization",), {"decoder": {"bits": 4, "block": 32, "zeros": value}}) for value in (False, None, 1)),
        (("quantization",), {"decoder": {**INT8, "zeros": True}}),
        *((("quantization",), {"decoder": {**INT8, "floating": value}}) for value in (False, None, 1)),
        (("quantization",), {"decoder": {"bits": 4, "block": 32, "floating": True}}),
    ],
)
def test_keys_that_may_be_left_out_are_read_as_strictly(root: Path, place: Place, value: object) -> None:
    (root / "clasp.json").write_text(json.dumps(altered(place, value)))
    refused(root, b.ManifestField, ".".join(map(str, place)))


def test_tokens_are_those_of_as_many_pictures(root: Path) -> None:
    (root / "clasp.json").write_text(json.dumps(altered(("media", "images"), 2)))
    refused(root, b.InconsistentManifest, "model.tokens", "[16, 16, 32]", "1 to 2 pictures")


def test_a_longest_edge_stands_beside_a_shortest(root: Path) -> None:
    content = altered((*PROCESSOR, "longest_edge"), 48)
    content["media"]["image"]["processor"] |= {"shortest_edge": None}
    (root / "clasp.json").write_text(json.dumps(content))
    refused(root, b.ManifestField, "shortest_edge")
