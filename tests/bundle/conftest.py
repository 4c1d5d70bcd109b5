"""The bundle that the attacks begin with, on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bundle.sample import ENGINE, POLICY_TEXT, VALID


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "out"
    (root / "graphs").mkdir(parents=True)
    (root / "graphs" / "decoder.onnx").write_bytes(ENGINE)
    (root / "policy.json").write_text(POLICY_TEXT, encoding="utf-8")
    (root / "clasp.json").write_text(json.dumps(VALID), encoding="utf-8")
    return root
