"""Schema 1, which says less, and leaves the rest to ``preprocessor_config.json``."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from clasp_trt import bundle as b
from clasp_trt.bundle import codec
from clasp_trt.errors import BundleError
from tests.bundle.sample import INSTEAD, VALID, Place, entry, name_of, refused
from tests.schema1 import old_manifest

SETTINGS = {"size": 24, "crop_size": 24, "image_processor_type": "CLIPImageProcessor"}


def _schema_1(root: Path, settings: object = SETTINGS, place: Place = (), value: object = None) -> dict[str, Any]:
    """A manifest of schema 1, with one value changed, and a bundle that is otherwise right."""
    data = settings if isinstance(settings, bytes) else json.dumps(settings).encode()
    (root / "preprocessor_config.json").write_bytes(data)
    old = old_manifest(copy.deepcopy(VALID))
    old["files"]["preprocessor_config.json"] = entry(data)
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


@pytest.mark.parametrize("place", [(), ("model",), ("model", "vision"), ("model", "decoder")], ids=name_of)
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
