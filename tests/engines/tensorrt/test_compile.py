"""Compiling a staged bundle, against a fake TensorRT: what is asked of it, and what becomes of its refusals."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle, Manifest
from clasp_trt.engines.lowering import lower_file
from clasp_trt.engines.tensorrt.builder import Recipe, build_engine
from clasp_trt.engines.tensorrt.compile import Compiled, compile_graphs
from clasp_trt.engines.tensorrt.library import Library
from clasp_trt.engines.tensorrt.plugin_nodes import Assemble
from clasp_trt.errors import BackendError
from clasp_trt.plugins import Image, Program
from tests.engines.tensorrt import fake
from tests.plugins.programs import OPERATORS, assemble, program

Stage = tuple[Path, Manifest]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))


@pytest.fixture
def stage(built: Callable[..., Bundle], tmp_path: Path) -> Stage:
    """A staged bundle without engines, of three graphs: its folder and its manifest."""
    bundle = built(target=None)
    shutil.copytree(bundle.root / "graphs", tmp_path / "stage" / "graphs")
    graphs = tuple(bundle.graph(name) for name in ("vision", "prune_0", "segment_3"))
    return tmp_path / "stage", replace(bundle.manifest, graphs=graphs)


def _compile(
    stage: Stage,
    trt: object,
    *,
    workspace: int | None = None,
    memory_limit: int | None = None,
    use_cache: bool = False,
    assemble: Assemble | None = None,
    sparse: bool = False,
    progress: Callable[[str, int, int], None] = lambda phase, done, total: None,
) -> Compiled:
    root, manifest = stage
    recipe = Recipe(Library("tensorrt", trt, trt.__version__), ("8.7",), workspace, assemble, sparse)  # type: ignore[attr-defined]
    return compile_graphs(
        root, manifest, "orin-agx-64", recipe,
        max_prompt=40, use_cache=use_cache, memory_limit=memory_limit, progress=progress, build=build_engine,
    )  # fmt: skip


def _files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_graph_gets_its_engine_and_stays_as_it_was(stage: Stage) -> None:
    root, manifest = stage
    before, record = _files(root), fake.Record()
    engines = _compile(stage, fake.module(record)).engines
    assert [engine.graph for engine in engines.engines] == [graph.name for graph in manifest.graphs]
    assert (engines.version, engines.sms, engines.max_prompt) == ("10.3.0", ("8.7",), 40)
    made = {engine.path: b"engine" for engine in engines.engines}
    assert set(made) == {f"engines/orin-agx-64/{graph.name}.engine" for graph in manifest.graphs}
    assert _files(root) == before | made
    assert record.flags == [1 << 3] * len(made), "strongly typed"
    assert record.workspace is None
    assert set(record.cleared) == {"TF32"}  # products of float32 stay products of float32


@pytest.mark.parametrize(("version", "opset"), [("10.3.0", 20), ("10.13.3", 20), ("11.4.1", 24)])
def test_the_parser_gets_the_opset_that_it_knows(
    stage: Stage, version: str, opset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clasp_trt.engines.tensorrt.network.allow_decomposition", lambda trt, network: 0)
    record = fake.Record()
    _compile(stage, fake.module(record, version=version))
    assert set(record.opsets) == {opset}


@pytest.mark.parametrize(("sms", "written_out"), [(("8.9",), False), (("7.5",), True), (("8.9", "7.5"), True)])
def test_float32_products_are_written_out_for_turing_alone(
    stage: Stage, sms: tuple[str, ...], written_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def lower(path: Path, opset: int, *, decompose_float32: bool, inline: bool, keep: Collection[str]) -> bool:
        asked.append(decompose_float32)
        return lower_file(path, opset, inline=inline, keep=keep)

    monkeypatch.setattr("clasp_trt.engines.tensorrt.compile.lower_file", lower)
    root, manifest = stage
    trt = fake.module(fake.Record())
    compile_graphs(
        root, manifest, "rtx4090", Recipe(Library("tensorrt", trt, trt.__version__), sms),
        max_prompt=40, use_cache=False, memory_limit=None, progress=lambda phase, done, total: None, build=build_engine,
    )  # fmt: skip
    assert asked == [written_out] * len(manifest.graphs)


def test_profiles_reach_the_builder_as_shapes(stage: Stage) -> None:
    record = fake.Record()
    engines = _compile(stage, fake.module(record)).engines
    assert len(record.profiles) == sum(len(engine.profiles) for engine in engines.engines)
    prefill, decode = record.profiles[-2:]  # of segment_3, which 4 visual tokens reach
    assert prefill["hidden"] == ((1, 1, 48), (1, 44, 48), (1, 44, 48))
    assert prefill["kv_length"] == ((1,), (44,), (84,))
    assert decode["hidden"] == ((1, 1, 48), (1, 1, 48), (1, 8, 48))
    assert (prefill["scored"], decode["scored"]) == (((1,), (1,), (2,)), ((1,), (1,), (8,)))
    assert decode["write_index"] == ((1,), (1,), (1,)), "its shape, since its value is none"


def test_progress_grows_by_weights(stage: Stage) -> None:
    heard: list[tuple[str, int, int]] = []
    _compile(stage, fake.module(fake.Record()), progress=lambda *step: heard.append(step))
    done = [step[1] for step in heard]
    assert done == sorted(done)
    assert done[-1] == heard[-1][2] > 0
    assert {phase for phase, _, _ in heard} == {"compile vision", "compile prune_0", "compile segment_3"}


def test_a_refusal_names_the_graph_and_the_reason(stage: Stage) -> None:
    trt = fake.module(fake.Record(), engine=None, error="no kernel\nfor it")
    with pytest.raises(BackendError, match=r"tensorrt 10\.3\.0.*graph vision.*no kernel for it"):
        _compile(stage, trt)


@pytest.mark.parametrize("error", ["Out of memory: needs 4 GB", "std::bad_alloc"])
def test_memory_that_runs_out_says_how_much_is_needed(stage: Stage, error: str) -> None:
    trt = fake.module(fake.Record(), engine=None, error=error)
    with pytest.raises(BackendError, match=r"building vision.*out of memory.*0\.2 GB"):
        _compile(stage, trt)


def test_a_memory_limit_is_checked_before_any_work(stage: Stage) -> None:
    root, _ = stage
    record, before = fake.Record(), _files(root)
    with pytest.raises(BackendError, match=r"^building segment_3 takes about 0\.2 GB .* more than --max-build-memory"):
        _compile(stage, fake.module(record), memory_limit=10**8)
    assert record.parsed == []
    assert _files(root) == before
    _compile(stage, fake.module(record), memory_limit=10**9)
    assert record.workspace is None, "what a build may take is no limit of a kernel's scratch"


def test_the_scratch_of_kernels_bounds_no_build(stage: Stage) -> None:
    record = fake.Record()
    _compile(stage, fake.module(record), workspace=10**6)
    assert record.workspace == 10**6


def test_a_graph_that_no_builder_takes_is_found_before_the_first_is_built(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = fake.Record()
    monkeypatch.setattr("clasp_trt.engines.tensorrt.limits.MAX_TOPK", 4)
    with pytest.raises(BackendError, match=r"^graph prune_0: TopK.*:.*7.*4"):
        _compile(stage, fake.module(record))
    assert record.parsed == []


def test_the_second_time_engines_come_from_the_cache(stage: Stage) -> None:
    root, manifest = stage
    first, second = fake.Record(), fake.Record()
    phases: set[str] = set()
    made = _compile(stage, fake.module(first), use_cache=True)
    shutil.rmtree(root / "engines")
    again = _compile(stage, fake.module(second), use_cache=True, progress=lambda phase, done, total: phases.add(phase))
    assert again.engines == made.engines
    assert second.parsed == []
    every = tuple(graph.name for graph in manifest.graphs)
    assert (made.reused, again.reused) == ((), every)
    assert phases == {f"reuse {name}" for name in every}
    shutil.rmtree(root / "engines")
    _compile(stage, fake.module(second), use_cache=False)
    assert len(second.parsed) == len(manifest.graphs)


def test_plugins_are_parsed_where_there_are_any_and_recorded(stage: Stage) -> None:
    record, before = fake.Record(), _files(stage[0])
    engines = _compile(stage, fake.module(record), assemble=assemble).engines
    assert record.plugins == [(), OPERATORS, ()]
    assert [engine.plugins for engine in engines.engines] == record.plugins
    assert {name: data for name, data in _files(stage[0]).items() if name in before} == before


def test_without_plugins_no_graph_names_one(stage: Stage) -> None:
    record = fake.Record()
    engines = _compile(stage, fake.module(record)).engines
    assert record.plugins == [(), (), ()] == [engine.plugins for engine in engines.engines]


def test_the_cache_tells_programs_apart(stage: Stage) -> None:
    def other(operator: str, iterations: int, batch: int, counts: tuple[int, int] | None) -> Program:
        made = assemble(operator, iterations, batch, counts)
        return replace(made, images=(Image("8.7", b"another cubin"),))

    def planned(operator: str, iterations: int, batch: int, counts: tuple[int, int] | None) -> Program:
        assert counts is not None
        tokens, keep = counts
        made = program(operator, keep, iterations, batch, tokens)
        return replace(made, plan=replace(made.plan, workspace_bytes=1024))

    seen = []
    for maker in (None, assemble, other, planned):
        for _ in range(2):
            record = fake.Record()
            _compile(stage, fake.module(record), assemble=maker, use_cache=True)
            shutil.rmtree(stage[0] / "engines")
            seen.append(len(record.parsed))
    assert seen == [3, 0, 1, 0, 1, 0, 1, 0], "built where the program is new, and fetched the second time"


@pytest.mark.parametrize("sparse", [False, True])
def test_zeros_may_be_skipped_where_there_are_some(stage: Stage, sparse: bool) -> None:
    record = fake.Record()
    _compile(stage, fake.module(record), sparse=sparse)
    assert record.set == ["SPARSE_WEIGHTS"] * 3 * sparse
