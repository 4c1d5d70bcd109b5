"""Links to TensorRT's library under its plain name, for as long as a build and no longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from clasp_trt.engines.tensorrt import process, unversioned
from clasp_trt.engines.tensorrt.unversioned import FOLDER, unversioned_libraries


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    names = ("libtensorrt_rtx.so.1", "libnvinfer.so.10.3.0", "libnvinfer_plugin.so.10", "libc.so.6", "lib.so")
    library = tmp_path / "site packages"
    monkeypatch.setattr(unversioned, "_loaded", lambda: {library / name for name in names})
    return library


def test_the_links_live_as_long_as_the_build(loaded: Path, tmp_path: Path) -> None:
    with unversioned_libraries(tmp_path):
        links = {path.name: path.readlink() for path in (tmp_path / FOLDER).iterdir()}
        assert links == {
            "libtensorrt_rtx.so": loaded / "libtensorrt_rtx.so.1",
            "libnvinfer.so": loaded / "libnvinfer.so.10.3.0",
        }
    assert not (tmp_path / FOLDER).exists()


def test_a_build_that_fails_leaves_none(loaded: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), unversioned_libraries(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_process_of_a_build_with_plugins_searches_the_links_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/mine")
    assert process._environment(())["LD_LIBRARY_PATH"] == "/opt/mine"
    assert process._environment(("ClaspPivotSelect",))["LD_LIBRARY_PATH"] == f"{FOLDER}:/opt/mine"
    monkeypatch.delenv("LD_LIBRARY_PATH")
    assert "LD_LIBRARY_PATH" not in process._environment(())
    assert process._environment(("ClaspPivotSelect",))["LD_LIBRARY_PATH"] == FOLDER


def test_what_is_loaded_is_read_from_the_process() -> None:
    assert any(path.name.startswith("libc.so") for path in unversioned._loaded())
