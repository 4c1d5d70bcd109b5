"""What ``inspect`` tells of engines: how many have plugins, and which."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from clasp_trt import bundle as bundles
from clasp_trt.bundle import Bundle, Engine, Engines, Graph, Profile
from clasp_trt.cli import main


def _engine(graph: Graph, plugins: tuple[str, ...]) -> Engine:
    dims = sorted({dim for port in graph.inputs for dim in port.shape if isinstance(dim, str)})
    return Engine(
        graph.name, f"engines/{graph.name}.engine", (Profile("request", dict.fromkeys(dims, (1, 2, 3))),), plugins
    )


@pytest.fixture
def compiled(built: Callable[..., Bundle], tmp_path: Path) -> Callable[[tuple[str, ...]], Path]:
    """A bundle of engines, of which those that prune have the given plugins."""

    def make(plugins: tuple[str, ...]) -> Path:
        portable = built(target=None)
        with bundles.write(tmp_path / "bundle") as writer:
            for name in portable.manifest.files:
                (writer.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(portable.path(name), writer.root / name)
            (writer.root / "engines").mkdir()
            engines = [
                _engine(graph, plugins if graph.name.startswith("prune") else ()) for graph in portable.manifest.graphs
            ]
            for engine in engines:
                (writer.root / engine.path).write_bytes(b"machine code")
            manifest = replace(
                portable.manifest, backend="tensorrt-rtx", target="rtx4090",
                engines=Engines("1.7", ("8.9",), 40, tuple(engines)),
            )  # fmt: skip
            return writer.commit(manifest, lambda done, total: None).root

    return make


def _inspect(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["inspect", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_plugins_are_counted_and_named(compiled: Callable[[tuple[str, ...]], Path]) -> None:
    root = str(compiled(("ClaspPivotSelect", "ClaspSphericalKMeans")))
    told = _inspect(root, "--engines")
    assert "prompts of up to 40 tokens of text, 3 with plugins\n" in told
    lines = [line for line in told.splitlines() if line.endswith("plugins ClaspPivotSelect, ClaspSphericalKMeans")]
    assert [line.split()[0] for line in lines] == ["prune_0", "prune_1", "prune_2"]
    manifest = json.loads(_inspect(root, "--json"))["manifest"]
    assert sum("plugins" in engine for engine in manifest["engines"]["engines"]) == 3


def test_nothing_is_said_of_plugins_where_there_are_none(compiled: Callable[[tuple[str, ...]], Path]) -> None:
    root = str(compiled(()))
    assert "plugin" not in _inspect(root, "--engines").replace(root, "")
