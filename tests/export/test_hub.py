"""Where a model lies: what is a folder, what is fetched, and what is neither. Without torch or ONNX."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clasp_trt.bundle import Source
from clasp_trt.errors import CheckpointError
from clasp_trt.export.hub import Place, locate
from tests.mistakes import says
from tests.started import own_environment

COMMIT = "0123456789abcdef" * 2 + "01234567"


def test_a_folder_is_itself_and_goes_by_its_real_name(tmp_path: Path) -> None:
    (tmp_path / "llava").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "llava")
    assert locate(tmp_path / "link", ()) == Place(tmp_path / "link", "llava", None)


def test_of_a_hub_id_what_is_asked_for_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(model: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((model, revision, allow_patterns))
        return str(tmp_path / COMMIT)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    source = Source("somebody/something", None, COMMIT)
    assert locate("somebody/something", ("*.json",)) == Place(tmp_path / COMMIT, "something", source)
    assert locate("somebody/something", (), "v1").source == Source("somebody/something", "v1", COMMIT)
    assert asked == [("somebody/something", None, ["*.json"]), ("somebody/something", "v1", [])]


@pytest.mark.parametrize(("owner", "name"), [("llava-hf", "llava-1.5-7b-hf"), ("me", "a--b")])
def test_a_snapshot_of_the_cache_goes_by_the_name_of_its_repository(tmp_path: Path, owner: str, name: str) -> None:
    snapshot = tmp_path / f"models--{owner}--{name}" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    assert locate(snapshot, ()) == Place(snapshot, name, Source(f"{owner}/{name}", None, COMMIT))
    (tmp_path / "link").symlink_to(snapshot)
    assert locate(tmp_path / "link", ()).name == name


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        locate(tmp_path, (), "v1")
    says(error, "--revision", "v1", tmp_path)


def test_a_revision_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object, **__: object) -> str:
        raise ValueError("no such revision")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(CheckpointError) as error:
        locate("somebody/something", (), "v9")
    says(error, "somebody/something", "v9", "no such revision")


def test_a_missing_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match="pip install huggingface_hub"):
        locate("somebody/something", ())


def test_it_loads_neither_torch_nor_onnx() -> None:
    program = "import sys, clasp_trt.export.hub; print({'torch', 'onnx', 'onnx_ir', 'transformers'} & {*sys.modules})"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=own_environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
