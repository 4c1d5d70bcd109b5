"""A manifest that is not strict JSON, or too large to be one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from clasp_trt import bundle as b
from tests.bundle.sample import VALID, refused


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
