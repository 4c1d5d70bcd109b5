"""Bundles with a planted fault: damaged after they were built, and hashed again so that only the numbers tell."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clasp_trt.bundle import MANIFEST, Bundle

Tamper = Callable[[Bundle, str, Callable[[Path], None]], Bundle]


@pytest.fixture
def tampered(tmp_path: Path) -> Tamper:
    """``tampered(bundle, file, change)``: a copy of ``bundle`` with ``change(path of file)`` done and listed."""

    def make(bundle: Bundle, file: str, change: Callable[[Path], None]) -> Bundle:
        root = tmp_path / "tampered"
        shutil.copytree(bundle.root, root)
        change(root / file)
        manifest = json.loads((root / MANIFEST).read_text())
        data = (root / file).read_bytes()
        manifest["files"][file] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (root / MANIFEST).write_text(json.dumps(manifest))
        return Bundle.open(root, verify=True)

    return make
