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
from tests.oneslot import with_one_slot
from tests.schema1 import old_manifest

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
    caches = [[f"{side}_{name} float16 slots 1 {capacity} 4" for name in names] for side in ("past", "present")]
    rows = (
        "hidden float16 slots sequence 8, position_ids int64 slots sequence, write_index int64 slots, kv_length int64 1"
    )
    index = ["reference_index int64 reference", "visual_index int64 visual_tokens"] if watched else []
    received = ["saliency float32 slots visual_tokens"] if watched else []
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


ROWS = "hidden_out float16 slots sequence 8"

# Written by hand, as an attacker would, and not by the code under test.
VALID: dict[str, Any] = {
    "schema": 2,
    "model": {
        "model_type": "llava",
        "name": "tiny",
        "vision": {"layers": 4, "width": 8, "feature_layer": 3, "saliency": "cls"},
        "tokens": [16, 16, 16],
        "decoder": {
            **{"layers": 4, "width": 8, "heads": 2, "kv_heads": 1, "head_dim": 4, "vocab_size": 32},
            **{"axes": 1, "visible": "causal"},
        },
        "stop_token_ids": [2],
    },
    "media": {
        "image": {
            "processor": {
                **{"kind": "square", "side": 24, "cell": 6, "shortest_edge": 24, "size": None, "resample": "bicubic"},
                **{"rescale": 0.00392156862745098, "mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
            },
            "layout": {
                **{"kind": "run", "placeholder": "<image>", "token": "<image>", "id": 31, "before": "", "after": "\n"},
            },
            "positions": {"kind": "sequential", "start": 0},
        }
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
            "input_ids int64 slots sequence, visual float16 1 visual_tokens 8, visual_index int64 visual_tokens",
            "hidden float16 slots sequence 8",
        ),
        _graph("gram", "visual float16 batch 16 8", "gram float32 batch 16 16"),
        _prune(0, 16, 8, ", gram_out float32 1 8 8, visual_index_out int64 8, reference_index_out int64 reference"),
        _prune(1, 8, 2, ""),
        _segment(0, range(1), 64, ROWS, watched=True),
        _segment(1, range(1, 3), 56, ROWS, watched=True),
        _segment(2, range(3, 4), 50, "logits float32 slots 1 32", watched=False),
        _graph("greedy", "logits float32 slots 1 32", "token int64 slots 1"),
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


def test_a_bundle_whose_graphs_have_one_slot_is_valid(root: Path) -> None:
    """All were so before a step could serve several."""
    (root / "clasp.json").write_text(json.dumps(with_one_slot(VALID)), encoding="utf-8")
    assert b.Bundle.open(root, verify=True).graph("embed").inputs[0].shape == (1, "sequence")


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


@pytest.mark.parametrize("name", ["graphs/extra.data", "clasp.json.bak", "graphs/clasp.json"])
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


@pytest.mark.parametrize(("schema", "cure"), [(3, "upgrade clasp-trt"), (0, "rebuild the bundle")])
def test_another_schema_comes_before_every_other_complaint(root: Path, schema: int, cure: str) -> None:
    (root / "clasp.json").write_text(json.dumps({"schema": schema, "novelty": []}))
    refused(root, b.SchemaVersion, f"schema {schema}", cure)


# Its fields

PROCESSOR: Place = ("media", "image", "processor")
LAYOUT: Place = ("media", "image", "layout")
POSITIONS: Place = ("media", "image", "positions")
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
INTEGER_PLACES: list[Place] = [
    *(("model", "vision", key) for key in ("layers", "width", "feature_layer")),
    *(("model", "decoder", key) for key in VALID["model"]["decoder"] if key != "visible"),
    *(("model", "tokens", place) for place in range(3)),
    *((*PROCESSOR, key) for key in ("side", "cell", "shortest_edge")),
    (*LAYOUT, "id"),
    (*POSITIONS, "start"),
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


@pytest.mark.parametrize("place", [PROCESSOR, LAYOUT, POSITIONS], ids=_name)
def test_a_kind_that_is_not_known(root: Path, place: Place) -> None:
    """Before its other keys: they are those of that kind."""
    (root / "clasp.json").write_text(json.dumps(altered(place, {"kind": "gr\u00efd", "novelty": 1})))
    refused(
        root, b.UnknownKind, f"{_name(place)}.kind: 'gr\\xefd'", VALID["media"]["image"][place[-1]]["kind"], "upgrade"
    )
    for value in (None, 1, [], "", "a\u0000"):
        (root / "clasp.json").write_text(json.dumps(altered((*place, "kind"), value)))
        refused(root, b.ManifestField, f"{_name(place)}.kind")


def test_more_tokens_than_a_selection_takes(root: Path) -> None:
    large = altered((*PROCESSOR,), {**VALID["media"]["image"]["processor"], "side": 129, "cell": 1})
    large["model"]["tokens"], large["schedule"]["tokens"] = [16641] * 3, 16641
    (root / "clasp.json").write_text(json.dumps(large))
    refused(root, b.InconsistentManifest, "model.tokens: 16641, but one selection handles 16384")


# Schema 1, which says less, and leaves the rest to preprocessor_config.json

SETTINGS = {"size": 24, "crop_size": 24, "image_processor_type": "CLIPImageProcessor"}


def _schema_1(root: Path, settings: object = SETTINGS, place: Place = (), value: object = None) -> dict[str, Any]:
    """A manifest of schema 1, with one value changed, and a bundle that is otherwise right."""
    data = settings if isinstance(settings, bytes) else json.dumps(settings).encode()
    (root / "preprocessor_config.json").write_bytes(data)
    old = old_manifest(copy.deepcopy(VALID))
    old["files"]["preprocessor_config.json"] = _entry(data)
    at: Any = old
    for step in place[:-1]:
        at = at[step]
    if place:
        at[place[-1]] = value
    (root / "clasp.json").write_text(json.dumps(old))
    return old


def test_schema_1_is_read_as_schema_2(root: Path) -> None:
    _schema_1(root)
    manifest = b.Bundle.open(root, verify=True).manifest
    image = manifest.media.image
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    assert image.processor == b.Square(24, 6, 24, None, "bicubic", 1 / 255, mean, std)
    assert (image.layout, image.positions) == (b.Run("<image>", "<image>", 31, "", ""), b.Sequential(0))
    assert (manifest.model.tokens, manifest.model.vision.saliency) == ((16, 16, 16), "cls")
    assert (manifest.model.decoder.axes, manifest.model.decoder.visible) == (1, "causal")
    assert json.loads(codec.dumps(manifest))["schema"] == 2


@pytest.mark.parametrize("key", ["image_size", "patch_size", "tokens", "layers", "width", "feature_layer"])
@pytest.mark.parametrize("value", [None, True, 1.0, "1", -1, 2**63])
def test_a_wrong_size_in_schema_1(root: Path, key: str, value: object) -> None:
    _schema_1(root, place=("model", "vision", key), value=value)
    refused(root, b.ManifestField, f"model.vision.{key}")


@pytest.mark.parametrize(("key", "value"), [("image_size", 4097), ("patch_size", 25)])
def test_a_size_beyond_bounds_in_schema_1(root: Path, key: str, value: int) -> None:
    _schema_1(root, place=("model", "vision", key), value=value)
    refused(root, b.ManifestField, f"model.vision.{key}")


@pytest.mark.parametrize("place", [(), ("model",), ("model", "vision"), ("model", "decoder")], ids=_name)
def test_schema_1_knows_its_own_keys_alone(root: Path, place: Place) -> None:
    for name in ("media", "axes"):
        _schema_1(root, place=(*place, name), value={})
        refused(root, b.ManifestField, f"unknown key '{name}'")


@pytest.mark.parametrize(
    ("settings", "malformation", "said"),
    [
        (b"{", b.Unreadable, "cannot be read as JSON"),
        (b"\xff", b.Unreadable, "cannot be read as JSON"),
        (b"[" * 100_000, b.Unreadable, "cannot be read as JSON"),
        (b" " * (2**20 + 1), b.Unreadable, "larger than 1048576 bytes"),
        (b"[]", b.Unreadable, "expected a JSON object"),
        ({**SETTINGS, "crop_size": 22}, b.InconsistentManifest, "makes pictures of 22x22 pixels"),
        ({**SETTINGS, "resample": 9}, b.InconsistentManifest, "resample is 9"),
    ],
    ids=lambda value: "",
)
def test_settings_that_schema_1_cannot_use(
    root: Path, settings: object, malformation: type[BundleError], said: str
) -> None:
    _schema_1(root, settings)
    refused(root, malformation, "preprocessor_config.json: ", said)


@pytest.mark.parametrize("kind", INSTEAD)
def test_settings_of_schema_1_that_are_no_file(root: Path, kind: str) -> None:
    _schema_1(root)
    (root / "preprocessor_config.json").unlink()
    refused(root, b.MissingFile, "preprocessor_config.json: missing")
    INSTEAD[kind](root / "preprocessor_config.json")
    refused(root, b.Unreadable, "preprocessor_config.json: ")


def test_settings_that_schema_1_does_not_list(root: Path) -> None:
    old = _schema_1(root)
    del old["files"]["preprocessor_config.json"]
    (root / "clasp.json").write_text(json.dumps(old))
    refused(root, b.UnlistedFile, "preprocessor_config.json")


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


# What must hold between them

SEGMENT_0 = next(i for i, graph in enumerate(VALID["graphs"]) if graph["name"] == "segment_0")
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
    "model.tokens: [4, 16, 16], but media.image.processor makes [16, 16, 16]": altered(
        ("model", "tokens"), [4, 16, 16]
    ),
    "schedule.tokens: 16, but model.tokens is [16, 16, 17]": altered(("model", "tokens"), [16, 16, 17]),
    "model.tokens: [16, 16, 16], but media.image.processor makes [4, 4, 4]": altered((*PROCESSOR, "cell"), 12),
    "model.decoder.axes: 3, but media.image.positions of kind 'sequential' have 1": altered(
        ("model", "decoder", "axes"), 3
    ),
    "model.decoder.window: 8, but no graph of 'causal' rows": altered(("model", "decoder", "window"), 8),
    "graphs[4].inputs: visible is missing, expected int64[2, 1, sequence]": altered(
        ("model", "decoder", "visible"), "prefix"
    ),
    "graphs[6].inputs: position_ids is int64[3, sequence], expected int64[slots, sequence]": altered(
        ("graphs", SEGMENT_0, "inputs", 1, "shape", 0), 3
    ),
    "it gives pixel_values float32[batch, 3, 24, 24], which graph 'vision' does not take": altered(
        ("graphs", 0, "inputs", 0, "shape", 2), 28
    ),
    "quantization.embedding: int4 in blocks of 32": altered(("quantization",), {"embedding": {"bits": 4, "block": 32}}),
    "opset: 20, but integers in blocks came with 21": {
        **altered(("quantization",), {"head": {"bits": 4, "block": 128}}),
        "opset": 20,
    },
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


@pytest.mark.full
def test_a_crowded_manifest_is_read_in_linear_time(root: Path) -> None:
    count = 50_000  # quadratic work would take minutes
    tensors = [{"name": f"t{i}", "dtype": "bool", "shape": []} for i in range(count)]
    (root / "clasp.json").write_text(json.dumps(altered(("graphs", 0, "inputs"), tensors)))
    refused(root, b.InconsistentManifest, "which graph 'vision' does not take")
    (root / "clasp.json").write_text(json.dumps(altered(("versions",), {f"v{i}": "1" for i in range(count)})))
    assert len(b.Bundle.open(root).manifest.versions) == count


# The chain is whole


def _chained(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    changed = copy.deepcopy(VALID)
    change(changed)
    return changed


def _narrow(content: dict[str, Any], *graphs: str) -> None:
    """``graphs`` as they were before a step could serve several slots."""
    one = with_one_slot(content)
    content["graphs"] = [
        old if old["name"] in graphs else new for old, new in zip(one["graphs"], content["graphs"], strict=True)
    ]


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
    "a segment of one slot": (
        lambda m: _narrow(m, "segment_1"),
        ("graphs[7].inputs: hidden is float16[1, sequence, 8], expected float16[slots, sequence, 8]",),
    ),
    "segments of several slots after an embedding of one": (
        lambda m: _narrow(m, "embed", "segment_0", "segment_1"),
        ("graphs[8].inputs: hidden is float16[slots, sequence, 8], expected float16[1, sequence, 8]",),
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

FUZZ = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
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
