"""Bundles that are wrong: every malformation has its name, and no bytes at all bring anything but a named error."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clasp_trt import bundle as b
from clasp_trt.bundle import codec
from clasp_trt.errors import BundleError, ClaspError
from clasp_trt.policy import prior

POLICY_TEXT = prior((1, 3), 3).dumps()
ENGINE = b"engine" * 100


def _entry(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _port(text: str) -> dict[str, Any]:
    """``hidden float16 1 sequence 8`` as a port."""
    name, dtype, *shape = text.split()
    return {"name": name, "dtype": dtype, "shape": [int(dim) if dim.isdigit() else dim for dim in shape]}


def _graph(name: str, inputs: str, outputs: str) -> dict[str, Any]:
    ports = ([_port(text) for text in side.split(", ")] for side in (inputs, outputs))
    return {"name": name, "path": "graphs/decoder.onnx", "inputs": next(ports), "outputs": next(ports)}


def _segment(number: int, layers: range, capacity: int, end: str, watched: bool) -> dict[str, Any]:
    names = [f"{kind}_{layer}" for layer in layers for kind in ("key", "value")]
    caches = [[f"{side}_{name} float16 1 1 {capacity} 4" for name in names] for side in ("past", "present")]
    rows = "hidden float16 1 sequence 8, position_ids int64 1 sequence, write_index int64 1, kv_length int64 1"
    index = ["reference_index int64 reference", "visual_index int64 visual_tokens"] if watched else []
    received = ["saliency float32 1 visual_tokens"] if watched else []
    return _graph(f"segment_{number}", ", ".join([rows, *index, *caches[0]]), ", ".join([end, *received, *caches[1]]))


def _prune(number: int, tokens: int, keep: int, narrowed: str) -> dict[str, Any]:
    return _graph(
        f"prune_{number}",
        f"hidden float16 1 sequence 8, position_ids int64 1 sequence, saliency float32 1 {tokens}, "
        f"gram float32 1 {tokens} {tokens}, pivot_count int64 1, visual_index int64 {tokens}, "
        "reference_index int64 reference",
        f"hidden_out float16 1 kept_sequence 8, position_ids_out int64 1 kept_sequence, kept int64 1 {keep}, "
        f"is_pivot bool 1 {keep}{narrowed}",
    )


ROWS = "hidden_out float16 1 sequence 8"

# Written by hand, as an attacker would, and not by the code under test.
VALID: dict[str, Any] = {
    "schema": 1,
    "model": {
        "model_type": "llava",
        "name": "tiny",
        "vision": {"layers": 4, "width": 8, "image_size": 24, "patch_size": 6, "tokens": 16, "feature_layer": 3},
        "decoder": {"layers": 4, "width": 8, "heads": 2, "kv_heads": 1, "head_dim": 4, "vocab_size": 32},
        "image_token": "<image>",
        "image_token_id": 31,
        "stop_token_ids": [2],
    },
    "precision": "fp16",
    "prune_at": "decoder",
    "schedule": {
        "tokens": 16,
        "layers": 4,
        "source": "given",
        "stages": [{"after_layer": 0, "keep": 8}, {"after_layer": 2, "keep": 2}],
    },
    "budget": None,
    "max_context": 64,
    "opset": 24,
    "graphs": [
        _graph(
            "vision",
            "pixel_values float32 batch 3 24 24",
            "features float16 batch 2 16 8, cls_saliency float32 batch 16",
        ),
        _graph("projector", "features float16 batch 2 16 8, alpha float32 batch 2", "visual float16 batch 16 8"),
        _graph(
            "embed",
            "input_ids int64 1 sequence, visual float16 1 visual_tokens 8, visual_index int64 visual_tokens",
            "hidden float16 1 sequence 8",
        ),
        _graph("gram", "visual float16 batch 16 8", "gram float32 batch 16 16"),
        _prune(0, 16, 8, ", gram_out float32 1 8 8, visual_index_out int64 8, reference_index_out int64 reference"),
        _prune(1, 8, 2, ""),
        _segment(0, range(1), 64, ROWS, watched=True),
        _segment(1, range(1, 3), 56, ROWS, watched=True),
        _segment(2, range(3, 4), 50, "logits float32 1 1 32", watched=False),
        _graph("greedy", "logits float32 1 1 32", "token int64 1 1"),
    ],
    "segments": [
        {"graph": "segment_0", "first_layer": 0, "last_layer": 0, "capacity": 64},
        {"graph": "segment_1", "first_layer": 1, "last_layer": 2, "capacity": 56},
        {"graph": "segment_2", "first_layer": 3, "last_layer": 3, "capacity": 50},
    ],
    "backend": "onnxruntime",
    "target": "cpu",
    "versions": {"clasp-trt": "0.1.0"},
    "files": {"graphs/decoder.onnx": _entry(ENGINE), "policy.json": _entry(POLICY_TEXT.encode())},
}

Place = tuple[str | int, ...]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "out"
    (root / "graphs").mkdir(parents=True)
    (root / "graphs" / "decoder.onnx").write_bytes(ENGINE)
    (root / "policy.json").write_text(POLICY_TEXT, encoding="utf-8")
    (root / "clasp.json").write_text(json.dumps(VALID), encoding="utf-8")
    return root


def altered(place: Place, value: object) -> dict[str, Any]:
    changed = copy.deepcopy(VALID)
    at: Any = changed
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    return changed


def without(place: Place) -> dict[str, Any]:
    changed = copy.deepcopy(VALID)
    at: Any = changed
    for step in place[:-1]:
        at = at[step]
    del at[place[-1]]
    return changed


def refused(root: Path, malformation: type[BundleError], *said: str) -> None:
    """Opening raises exactly ``malformation``, in one printable line with the bundle's path and every ``said``."""
    with pytest.raises(BundleError) as error:
        b.Bundle.open(root)
    assert type(error.value) is malformation, error.value
    line = str(error.value)
    for part in (str(root), *said):
        assert part in line, line
    assert line.isprintable()


def test_the_sample_is_valid(root: Path) -> None:
    assert b.Bundle.open(root, verify=True).manifest.segments[1].capacity == 56


# The folder


def test_no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "out", b.NotABundle, "no such folder")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300, "\ud800"])
def test_a_path_that_cannot_be(name: str) -> None:
    with pytest.raises(b.NotABundle) as error:
        b.Bundle.open(f"/{name}")
    assert str(error.value).isprintable()


def test_a_file_is_not_a_bundle(root: Path) -> None:
    refused(root / "policy.json", b.NotABundle, "not a folder")


def test_a_folder_without_a_manifest(root: Path) -> None:
    (root / "clasp.json").unlink()
    refused(root, b.NotABundle, "no clasp.json")


def _socket(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # the address is limited to 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


INSTEAD: dict[str, Callable[[Path], object]] = {
    "folder": lambda path: path.mkdir(),
    "FIFO": os.mkfifo,
    "socket": _socket,
    "link within": lambda path: path.symlink_to(path.parent / "twin"),
    "link out": lambda path: path.symlink_to("/etc/passwd"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("kind", INSTEAD)
def test_a_manifest_that_is_no_file(root: Path, kind: str) -> None:
    (root / "clasp.json").unlink()
    INSTEAD[kind](root / "clasp.json")
    refused(root, b.NotABundle, "clasp.json cannot be read")


@pytest.mark.parametrize("kind", INSTEAD)
def test_a_listed_file_that_is_no_file(root: Path, kind: str) -> None:
    engine = root / "graphs" / "decoder.onnx"
    engine.unlink()
    INSTEAD[kind](engine)
    refused(root, b.NotAFile if kind in ("folder", "FIFO", "socket") else b.UnsafePath, "graphs/decoder.onnx")


def test_a_folder_that_is_a_link(root: Path) -> None:
    (root / "graphs").rename(root.parent / "graphs")
    (root / "graphs").symlink_to(root.parent / "graphs")
    refused(root, b.UnsafePath, "graphs: is a symbolic link", "cp -rL")


def test_a_link_that_appears_after_opening_is_not_followed(root: Path) -> None:
    opened = b.Bundle.open(root)
    engine = root / "graphs" / "decoder.onnx"
    engine.rename(root.parent / "elsewhere")
    engine.symlink_to(root.parent / "elsewhere")
    with pytest.raises(b.UnsafePath):
        opened.verify()


def test_a_missing_file(root: Path) -> None:
    (root / "graphs" / "decoder.onnx").unlink()
    refused(root, b.MissingFile, "graphs/decoder.onnx")


@pytest.mark.parametrize("name", ["graphs/extra.data", ".DS_Store", "clasp.json.bak", "graphs/clasp.json"])
def test_an_unlisted_file(root: Path, name: str) -> None:
    (root / name).touch()
    refused(root, b.UnlistedFile, name)


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines", b"\x1b[2J"])
def test_an_unlisted_name_cannot_steer_a_terminal(root: Path, name: bytes) -> None:
    with open(os.fsencode(root) + b"/" + name, "wb"):
        refused(root, b.UnlistedFile, "not listed")


def test_an_empty_folder_carries_nothing(root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    b.Bundle.open(root, verify=True)


@pytest.mark.parametrize("size", [0, len(ENGINE) - 1, len(ENGINE) + 1])
def test_a_wrong_size(root: Path, size: int) -> None:
    os.truncate(root / "graphs" / "decoder.onnx", size)
    refused(root, b.SizeMismatch, "graphs/decoder.onnx", str(size), str(len(ENGINE)))


def test_a_wrong_hash(root: Path) -> None:
    engine = root / "graphs" / "decoder.onnx"
    engine.write_bytes(ENGINE[:-1] + b"!")
    with pytest.raises(b.HashMismatch, match=r"graphs/decoder\.onnx"):
        b.Bundle.open(root, verify=True)


# The text of the manifest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not JSON"),
        (json.dumps(VALID).encode()[:-1], "not JSON"),
        (json.dumps(VALID).encode() + b"{}", "not JSON"),
        (json.dumps(VALID).encode().replace(b"fp16", b"fp\xff6"), "not UTF-8"),
        (b"\xef\xbb\xbf" + json.dumps(VALID).encode(), "BOM"),
        (json.dumps(VALID).encode("utf-16"), "not UTF-8"),
        (json.dumps(VALID).encode().replace(b"fp16", b"fp\n6"), "not JSON"),
        (json.dumps(VALID).encode().replace(b'"opset": 24', b'"opset": NaN'), "NaN"),
        (json.dumps(VALID).encode().replace(b'"opset": 24', b'"opset": -Infinity'), "-Infinity"),
        (json.dumps(VALID).encode().replace(b'"opset": 24', b'"opset": 24, "opset": 24'), "'opset' occurs twice"),
        (json.dumps(VALID).encode().replace(b'"keep": 8', b'"keep": 8, "keep": 8'), "'keep' occurs twice"),
        (json.dumps(VALID).encode().replace(b'"opset": 24', b'"opset": ' + b"9" * 5000), "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_manifest_that_is_not_strict_json(root: Path, text: bytes, said: str) -> None:
    (root / "clasp.json").write_bytes(text)
    if said == "not JSON" and b"9" * 5000 in text and not hasattr(sys, "set_int_max_str_digits"):
        pytest.skip("this Python reads integers of any length")
    refused(root, b.ManifestSyntax, "clasp.json", said)


def test_nesting_around_the_parser_s_limit(root: Path) -> None:
    for depth in range(100, 1100, 25):
        text = json.dumps(VALID).replace('"stages": [', '"stages": [' + "[" * depth + "]" * depth + ", ")
        (root / "clasp.json").write_text(text)
        with pytest.raises((b.ManifestSyntax, b.ManifestField)):
            b.Bundle.open(root)


def test_a_manifest_beyond_the_bound_is_not_read(root: Path) -> None:
    text = json.dumps(VALID)
    (root / "clasp.json").write_text(text.ljust(b.MAX_MANIFEST_BYTES))
    b.Bundle.open(root)
    (root / "clasp.json").write_text(text.ljust(b.MAX_MANIFEST_BYTES + 1))
    refused(root, b.ManifestSyntax, "larger than 16 MiB")


def test_a_manifest_of_a_terabyte_is_refused_at_once(root: Path) -> None:
    os.truncate(root / "clasp.json", 2**40)  # sparse
    refused(root, b.ManifestSyntax, "larger than 16 MiB")


@pytest.mark.parametrize(("schema", "cure"), [(2, "upgrade clasp-trt"), (0, "rebuild the bundle")])
def test_another_schema_comes_before_every_other_complaint(root: Path, schema: int, cure: str) -> None:
    (root / "clasp.json").write_text(json.dumps({"schema": schema, "novelty": []}))
    refused(root, b.SchemaVersion, f"schema {schema}", cure)


# Its fields

STRING_PLACES: list[Place] = [
    ("model", "model_type"),
    ("model", "name"),
    ("model", "image_token"),
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
]
INTEGER_PLACES: list[Place] = [
    *(("model", "vision", key) for key in VALID["model"]["vision"]),
    *(("model", "decoder", key) for key in VALID["model"]["decoder"]),
    ("model", "image_token_id"),
    ("model", "stop_token_ids", 0),
    ("schedule", "tokens"),
    ("schedule", "layers"),
    ("schedule", "stages", 0, "after_layer"),
    ("schedule", "stages", 0, "keep"),
    ("budget",),
    ("max_context",),
    ("opset",),
    ("graphs", 0, "inputs", 0, "shape", 0),
    *(("segments", 0, key) for key in ("first_layer", "last_layer", "capacity")),
    ("files", "policy.json", "bytes"),
    ("schema",),
]
ARRAY_PLACES: list[Place] = [
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
    ("schedule",),
    ("schedule", "stages", 0),
    ("graphs", 0),
    ("graphs", 0, "inputs", 0),
    ("segments", 0),
    ("files", "policy.json"),
]
OBJECT_PLACES: list[Place] = [*RECORD_PLACES, ("versions",), ("files",)]

WRONG: list[tuple[Place, Any]] = [
    *((place, value) for place in STRING_PLACES for value in (None, 1, True, [], {}, "", "a\u0000", "\u001b[2J")),
    *((place, value) for place in CHOICE_PLACES for value in (None, 1, [], {}, "", "float64", "FP16")),
    *((place, value) for place in INTEGER_PLACES for value in (True, 1.0, "1", [], -2, 2**63)),
    *((place, None) for place in INTEGER_PLACES if place != ("budget",)),
    *((place, value) for place in ARRAY_PLACES for value in (None, 1, "text", {}, [None], [[]])),
    *((place, value) for place in OBJECT_PLACES for value in (None, 1, "text", [])),
]


def _name(place: Place) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")


@pytest.mark.parametrize(("place", "value"), WRONG, ids=lambda value: str(value)[:60])
def test_a_field_of_a_wrong_type_or_range(root: Path, place: Place, value: Any) -> None:
    if place[-1] == "shape" and value in ([None], [[]]):
        place, value = (*place, 0), value[0]
    (root / "clasp.json").write_text(json.dumps(altered(place, value)))
    keyed = f"files['{place[1]}']" if place[0] == "files" and len(place) > 1 else ""
    keyed = f"versions['{place[1]}']" if place[0] == "versions" and len(place) > 1 else keyed
    refused(root, b.ManifestField, "clasp.json: ", keyed or str(place[0]))


@pytest.mark.parametrize("place", [(), *RECORD_PLACES], ids=_name)
def test_every_key_is_needed_and_no_other_is_known(root: Path, place: Place) -> None:
    record: Any = VALID
    for step in place:
        record = record[step]
    for key in record:
        (root / "clasp.json").write_text(json.dumps(without((*place, key))))
        refused(root, b.ManifestField, key)
    (root / "clasp.json").write_text(json.dumps(altered((*place, "extra\u001b"), 1)))
    refused(root, b.ManifestField, "unknown key", r"extra\x1b")


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
    (root / "clasp.json").write_text(json.dumps(altered(("files", path), _entry(b""))))
    refused(root, b.UnsafePath, "files: ")


# What must hold between them

CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "files: policy.json is not listed": without(("files", "policy.json")),
    "files: clasp.json cannot list itself": altered(("files", "clasp.json"), _entry(b"")),
    "graphs[0].path: graphs/other.onnx is not among": altered(("graphs", 0, "path"), "graphs/other.onnx"),
    "graphs: two are named 'segment_0'": altered(("graphs", 1, "name"), "segment_0"),
    "graphs[1]: two tensors are named 'alpha'": altered(("graphs", 1, "outputs", 0, "name"), "alpha"),
    "segments[1].graph: there is no graph 'x'": altered(("segments", 1, "graph"), "x"),
    "segments: two share the graph 'segment_0'": altered(("segments", 1, "graph"), "segment_0"),
    "model.vision.feature_layer: 5": altered(("model", "vision", "feature_layer"), 5),
    "model.decoder.heads: 3": altered(("model", "decoder"), {**VALID["model"]["decoder"], "heads": 3, "kv_heads": 2}),
    "model.stop_token_ids[0]: 32 is outside": altered(("model", "stop_token_ids", 0), 32),
    "schedule.tokens: 17": altered(("schedule", "tokens"), 17),
    "schedule.layers: 5": altered(("schedule", "layers"), 5),
    "prune_at: 'none' needs no stages": altered(("prune_at",), "none"),
    "prune_at: 'encoder' needs one stage": altered(("prune_at",), "encoder"),
    "budget: 17 is more than": altered(("budget",), 17),
    "segments[0]: layers 1..0, but layer 0": altered(("segments", 0, "first_layer"), 1),
    "segments[1]: layers 2..2, but layer 1": altered(("segments", 1, "first_layer"), 2),
    "segments[1]: layers 0..2, but layer 1": altered(("segments", 1, "first_layer"), 0),
    "segments[2]: layers 3..3, but layer 2": altered(("segments", 1, "last_layer"), 1),
    "segments: they cover 5 layers": altered(("segments", 2, "last_layer"), 4),
    "segments: they cover 3 layers": without(("segments", 2)),
    "backend: 'onnxruntime', but target 'portable' takes portable": altered(("target",), "portable"),
    "backend: 'portable', but target 'cpu' takes onnxruntime": altered(("backend",), "portable"),
    "backend: 'tensorrt', but target 'cpu' takes onnxruntime": altered(("backend",), "tensorrt"),
    "segments: they cover 0 layers": altered(("segments",), []),
    "prunes after layer 0, but no segment ends there": altered(
        ("segments",), [{"graph": "segment_0", "first_layer": 0, "last_layer": 3, "capacity": 64}]
    ),
}


@pytest.mark.parametrize("said", CONTRADICTIONS)
def test_a_contradiction(root: Path, said: str) -> None:
    (root / "clasp.json").write_text(json.dumps(CONTRADICTIONS[said]))
    refused(root, b.InconsistentManifest, said)


@pytest.mark.parametrize(
    ("stages", "source", "said"),
    [
        ([], "none", "prune_at: 'decoder' needs stages inside the decoder, but the schedule has no stages"),
        ([{"after_layer": -1, "keep": 4}], "encoder", "prune_at: 'decoder' needs stages inside the decoder"),
    ],
)
def test_stages_that_contradict_prune_at(root: Path, stages: list[dict[str, int]], source: str, said: str) -> None:
    schedule = {"tokens": 16, "layers": 4, "source": source, "stages": stages}
    (root / "clasp.json").write_text(json.dumps(altered(("schedule",), schedule)))
    refused(root, b.InconsistentManifest, said)


def test_a_budget_without_pruning(root: Path) -> None:
    whole = altered(("schedule",), {"tokens": 16, "layers": 4, "source": "none", "stages": []})
    (root / "clasp.json").write_text(json.dumps({**whole, "prune_at": "none", "budget": 8}))
    refused(root, b.InconsistentManifest, "budget: 8, but nothing is pruned: expected null")


def test_a_crowded_manifest_is_read_in_linear_time(root: Path) -> None:
    count = 50_000  # quadratic work would take minutes
    tensors = [{"name": f"t{i}", "dtype": "bool", "shape": []} for i in range(count)]
    (root / "clasp.json").write_text(json.dumps(altered(("graphs", 0, "inputs"), tensors)))
    assert len(b.Bundle.open(root).graph("vision").inputs) == count


# The chain is whole


def _chained(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    changed = copy.deepcopy(VALID)
    change(changed)
    return changed


def _sized(content: dict[str, Any], capacity: int) -> None:
    """A context and caches that only the manifest knows."""
    content["max_context"] = capacity
    for segment, dropped in zip(content["segments"], (0, 8, 14), strict=True):
        segment["capacity"] = capacity - dropped


def _endless(content: dict[str, Any]) -> None:
    """A thousand million layers in the last segment."""
    content["model"]["decoder"]["layers"] = content["schedule"]["layers"] = 10**9
    content["segments"][2]["last_layer"] = 10**9 - 1


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], tuple[str, ...]]] = {
    "a graph too few": (lambda m: m["graphs"].pop(0), ("graphs[0]: 'projector', expected 'vision'",)),
    "a graph too many": (
        lambda m: m["graphs"].append({**m["graphs"][-1], "name": "more"}),
        ("graphs[10]: 'more', expected no more",),
    ),
    "graphs out of order": (lambda m: m["graphs"].reverse(), ("graphs[0]: 'greedy', expected 'vision'",)),
    "a prune without a stage": (
        lambda m: m["schedule"]["stages"].pop(),
        ("graphs[5]: 'prune_1', expected 'segment_0'",),
    ),
    "segments that swap graphs": (
        lambda m: [m["segments"][i].update(graph=f"segment_{1 - i}") for i in (0, 1)],
        ("segments[0].graph", "segment_1", "segment_0"),
    ),
    "a capacity that the context does not ask for": (
        lambda m: m["segments"][1].update(capacity=64),
        ("segments[1].capacity: 64", "56"),
    ),
    "a capacity that no graph has": (lambda m: _sized(m, 10**9), ("graphs[6].inputs: past_key_0", "1000000000")),
    "layers that no graph has": (_endless, ("graphs[8].inputs", "caches of 1 layers", "999999997")),
    "another precision": (lambda m: m.update(precision="fp32"), ("graphs[2].inputs: visual", "float16", "float32")),
    "another vocabulary": (
        lambda m: m["model"]["decoder"].update(vocab_size=33),
        ("graphs[8].outputs: logits", "33"),
    ),
    "other heads": (lambda m: m["model"]["decoder"].update(kv_heads=2), ("graphs[6].inputs: past_key_0",)),
    "another width of the tower": (
        lambda m: m["model"]["vision"].update(width=9),
        ("graphs[0].outputs: features", "9"),
    ),
    "a projector of other layers": (
        lambda m: m["graphs"][1]["inputs"][1].update(shape=["batch", 3]),
        ("graphs[1].inputs: alpha", "3"),
    ),
    "a tower without features": (lambda m: m["graphs"][0]["outputs"].pop(0), ("graphs[0].outputs", "features")),
    "a port that is missing": (
        lambda m: m["graphs"][6]["inputs"].pop(4),
        ("graphs[6].inputs: reference_index is missing",),
    ),
    "a port of another dtype": (
        lambda m: m["graphs"][3]["outputs"][0].update(dtype="float16"),
        ("graphs[3].outputs: gram", "float16", "float32"),
    ),
    "a port that is none of the graph's": (
        lambda m: m["graphs"][9]["inputs"].append({"name": "more", "dtype": "bool", "shape": []}),
        ("graphs[9].inputs: 'more'",),
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_chain_that_is_not_whole(root: Path, kind: str) -> None:
    change, facts = BROKEN[kind]
    (root / "clasp.json").write_text(json.dumps(_chained(change)))
    refused(root, b.InconsistentManifest, *facts)


def test_a_bundle_from_before_the_greedy_graph_opens(root: Path) -> None:
    (root / "clasp.json").write_text(json.dumps(_chained(lambda m: m["graphs"].pop())))
    assert b.Bundle.open(root).manifest.graphs[-1].name == "segment_2"


# Any bytes at all

FUZZ = settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
TEXT = json.dumps(VALID).encode()


def survives(data: bytes) -> None:
    """Reading ``data`` gives a manifest that reads back to itself, or one printable line."""
    line = "read"
    try:
        manifest = codec.loads(data, "clasp.json")
        assert codec.loads(codec.dumps(manifest).encode(), "clasp.json") == manifest
    except ClaspError as error:
        line = str(error)
    assert line.isprintable()


@FUZZ
@given(st.binary())
def test_fuzz_bytes(data: bytes) -> None:
    survives(data)


@FUZZ
@given(st.lists(st.tuples(st.integers(0, len(TEXT) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(TEXT)))
def test_fuzz_flipped_bytes_and_truncation(flips: list[tuple[int, int]], length: int) -> None:
    data = bytearray(TEXT)
    for at, value in flips:
        data[at] = value
    survives(bytes(data))
    survives(bytes(data[:length]))


def _places(value: Any, place: Place = ()) -> list[Place]:
    """Every place in a JSON value, itself included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(deeper for key, child in inner for deeper in _places(child, (*place, key)))]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(), max_size=8),  # lone surrogates too
    st.sampled_from(["", "..", "/", "policy.json", "clasp.json", "segment_0", "none", "encoder", "decoder", "bool"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PLACES = st.sampled_from([place for place in _places(VALID) if place])
MUTATIONS = st.lists(st.tuples(PLACES, st.sampled_from(["replace", "delete", "copy"]), VALUES, PLACES), max_size=4)


def _mutate(content: Any, place: Place, how: str, value: Any, origin: Place) -> None:
    """One mutation in place; places that an earlier one removed are left alone."""
    try:
        if how == "copy":
            value = content
            for step in origin:
                value = value[step]
            value = copy.deepcopy(value)
        for step in place[:-1]:
            content = content[step]
        if how == "delete":
            del content[place[-1]]
        else:
            content[place[-1]] = value
    except (KeyError, IndexError, TypeError):
        pass


@FUZZ
@given(MUTATIONS)
def test_fuzz_structure(mutations: list[tuple[Place, str, Any, Place]]) -> None:
    content = copy.deepcopy(VALID)
    for mutation in mutations:
        _mutate(content, *mutation)
    survives(json.dumps(content).encode())


@FUZZ
@given(st.sampled_from(INTEGER_PLACES), st.integers(-3, 70))
def test_fuzz_integers(place: Place, value: int) -> None:
    survives(json.dumps(altered(place, value)).encode())


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["clasp.json", "policy.json"]), data=st.binary(max_size=64), at=st.integers(0, 2000))
def test_fuzz_a_bundle_on_disk(root: Path, name: str, data: bytes, at: int) -> None:
    original = {"clasp.json": TEXT, "policy.json": POLICY_TEXT.encode()}[name]
    (root / name).write_bytes(original[:at] + data + original[at + len(data) :])
    line = "opened"
    try:
        b.Bundle.open(root, verify=True)
    except ClaspError as error:
        line = str(error)
    (root / name).write_bytes(original)
    assert line.isprintable()
