"""Where a model lies: what is a folder, what is fetched, and what is neither. Without torch or ONNX."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clasp_trt.errors import CheckpointError
from clasp_trt.export.hub import locate
from tests.started import own_environment


def test_a_folder_is_itself_and_goes_by_its_real_name(tmp_path: Path) -> None:
    (tmp_path / "llava").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "llava")
    assert locate(tmp_path / "link", ()) == (tmp_path / "link", "llava")


def test_of_a_hub_id_what_is_asked_for_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(model: str, *, allow_patterns: list[str]) -> str:
        asked.append((model, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert locate("somebody/something", ("*.json",)) == (tmp_path, "something")
    assert asked == [("somebody/something", ["*.json"])]


def test_a_missing_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match="pip install huggingface_hub"):
        locate("somebody/something", ())


def test_it_loads_neither_torch_nor_onnx() -> None:
    program = "import sys, clasp_trt.export.hub; print({'torch', 'onnx', 'onnx_ir', 'transformers'} & {*sys.modules})"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=own_environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
