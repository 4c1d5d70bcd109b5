"""Bundles with engines: what the manifest must say of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clasp_trt import bundle as bundles
from clasp_trt.bundle import Bundle, Engine, Engines, InconsistentManifest, ManifestField, Profile
from clasp_trt.bundle.codec import dumps, loads
from tests.oneslot import one_slot

VERSION = "1.7.1.116"


@pytest.fixture
def compiled(whole: Bundle, tmp_path: Path) -> Bundle:
    """A copy of ``whole``, to do with as one likes."""
    return Bundle.open(shutil.copytree(whole.root, tmp_path / "compiled"))


@pytest.fixture(scope="module")
def whole(built: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle for rtx4090 whose engines are a few bytes each."""
    portable = built(target=None)
    engines = []
    with bundles.write(tmp_path_factory.mktemp("whole") / "bundle") as writer:
        for name in portable.manifest.files:
            (writer.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(portable.path(name), writer.root / name)
        (writer.root / "engines" / "rtx4090").mkdir(parents=True)
        for graph in portable.manifest.graphs:
            path = f"engines/rtx4090/{graph.name}.engine"
            (writer.root / path).write_bytes(b"machine code of " + graph.name.encode())
            dims = {dim for port in graph.inputs for dim in port.shape if isinstance(dim, str)}
            engines.append(Engine(graph.name, path, (Profile("request", dict.fromkeys(sorted(dims), (1, 2, 3))),)))
        found = Engines(VERSION, ("8.9", "12.0"), 40, tuple(engines))
        return writer.commit(
            replace(portable.manifest, backend="tensorrt-rtx", target="rtx4090", engines=found),
            lambda done, total: None,
        )


def _change(bundle: Bundle, change: Callable[[dict[str, Any]], object]) -> Path:
    path = bundle.root / "clasp.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return bundle.root


def test_engines_read_back_as_they_were_written(compiled: Bundle) -> None:
    assert Bundle.open(compiled.root, verify=True).manifest == compiled.manifest
    assert compiled.manifest.engines is not None


def test_a_bundle_without_engines_has_no_such_key(built: Callable[..., Bundle]) -> None:
    assert "engines" not in json.loads((built().root / "clasp.json").read_text())


@pytest.mark.parametrize(
    ("change", "error", "line"),
    [
        (lambda m: m.pop("engines"), InconsistentManifest, "engines: missing, but backend 'tensorrt-rtx' needs them"),
        (lambda m: m.update(backend="onnxruntime"), InconsistentManifest, "but backend 'onnxruntime' has none"),
        (lambda m: m.update(engines=None), ManifestField, "engines: expected an object"),
        (lambda m: m["engines"].update(sms=[]), InconsistentManifest, "engines.sms: empty"),
        (
            lambda m: m["engines"].update(sms=["sm_89"]),
            ManifestField,
            r"engines.sms\[0\]: expected a compute capability",
        ),
        (
            lambda m: m["engines"].update(max_prompt=0),
            ManifestField,
            "engines.max_prompt: expected a whole number from 1",
        ),
        (lambda m: m["engines"].update(more=1), ManifestField, "engines"),
        (lambda m: m["engines"]["engines"].pop(), InconsistentManifest, "expected one for each graph"),
        (lambda m: m["engines"]["engines"].reverse(), InconsistentManifest, "in the order of the graphs"),
        (lambda m: m["engines"]["engines"][0].update(path="engines/x"), InconsistentManifest, "not among the files"),
        (lambda m: m["engines"]["engines"][0].update(path="../x"), bundles.UnsafePath, "not a path inside the bundle"),
        (lambda m: m["engines"]["engines"][0].update(profiles=[]), InconsistentManifest, r"\[0\].profiles: empty"),
        (
            lambda m: m["engines"]["engines"][0]["profiles"].append(m["engines"]["engines"][0]["profiles"][0]),
            InconsistentManifest,
            "two are named 'request'",
        ),
        (
            lambda m: m["engines"]["engines"][0]["profiles"][0]["sizes"].update(batch=[2, 1, 3]),
            ManifestField,
            "three ascending integers",
        ),
        (
            lambda m: m["engines"]["engines"][0]["profiles"][0]["sizes"].clear(),
            InconsistentManifest,
            "'request' has no sizes of 'batch'",
        ),
        (
            lambda m: m["engines"]["engines"][0].update(plugins=[]),
            ManifestField,
            r"engines.engines\[0\].plugins: expected one or more of ClaspPivotSelect, ClaspSphericalKMeans, each once",
        ),
        (lambda m: m["engines"]["engines"][0].update(plugins=["ClaspPivotSelect"] * 2), ManifestField, "each once"),
        (
            lambda m: m["engines"]["engines"][0].update(plugins=["Other"]),
            ManifestField,
            r"plugins\[0\]: expected one of",
        ),
        (
            lambda m: m["engines"]["engines"][0]["profiles"][0]["sizes"].update(depth=[1, 1, 1]),
            InconsistentManifest,
            "'request' has sizes of 'depth', which the graph lacks",
        ),
    ],
)
def test_malformed(
    compiled: Bundle, change: Callable[[dict[str, Any]], object], error: type[Exception], line: str
) -> None:
    with pytest.raises(error, match=line):
        Bundle.open(_change(compiled, change))


def _with_plugins(bundle: Bundle) -> Bundle:
    return Bundle.open(_change(bundle, lambda m: m["engines"]["engines"][0].update(plugins=["ClaspPivotSelect"])))


def test_engines_without_plugins_do_not_speak_of_them(compiled: Bundle) -> None:
    assert "plugins" not in (compiled.root / "clasp.json").read_text()


def test_plugins_read_back_as_they_were_written(compiled: Bundle) -> None:
    bundle = _with_plugins(compiled)
    assert bundle.manifest.engines is not None
    assert [engine.plugins for engine in bundle.manifest.engines.engines][:2] == [("ClaspPivotSelect",), ()]
    assert loads(dumps(bundle.manifest).encode(), "it") == bundle.manifest


# --- slots --------------------------------------------------------------------------------------------------


def test_slots_read_back_and_one_is_not_said(built: Callable[..., Bundle]) -> None:
    manifest = built().manifest
    assert '"slots": ' not in dumps(manifest)
    assert (manifest.slots, manifest.has_slots) == (1, True)
    several = replace(manifest, slots=7)
    assert loads(dumps(several).encode(), "here") == several


@pytest.mark.parametrize("wrong", [1, 0, 257, "4", None, 2.0])
def test_slots_that_are_no_number(compiled: Bundle, wrong: object) -> None:
    with pytest.raises(ManifestField, match="slots"):
        Bundle.open(_change(compiled, lambda content: content.update(slots=wrong)))


def test_more_slots_than_an_engine_takes(compiled: Bundle) -> None:
    """Its profiles have room for 3."""
    assert Bundle.open(_change(compiled, lambda content: content.update(slots=3))).manifest.slots == 3
    with pytest.raises(InconsistentManifest, match=r"slots: 4, but .*at most 3"):
        Bundle.open(_change(compiled, lambda content: content.update(slots=4)))


def test_slots_of_graphs_that_take_one(built: Callable[..., Bundle], tmp_path: Path) -> None:
    root = one_slot(built().root, tmp_path / "old")
    assert not Bundle.open(root).manifest.has_slots
    with pytest.raises(InconsistentManifest, match="slots: 2, but the graphs take one"):
        Bundle.open(_change(Bundle.open(root), lambda content: content.update(slots=2)))
