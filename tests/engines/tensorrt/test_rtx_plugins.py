"""Real engines with plugins, by TensorRT for RTX: parsed, shaped, negotiated and serialised without a GPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.engines.kernels import compile_kernels, nvrtc
from clasp_trt.engines.tensorrt.builder import Recipe
from clasp_trt.engines.tensorrt.compile import compile_graphs
from clasp_trt.engines.tensorrt.library import load
from clasp_trt.engines.tensorrt.plugin_nodes import Assemble
from clasp_trt.errors import BackendError
from clasp_trt.plugins import Program, register
from clasp_trt.tools.build.compiler import build
from tests.plugins.programs import OPERATORS, assemble, program

pytestmark = pytest.mark.trt

SMS = ("8.9", "12.0")


def _compiled(portable: Bundle, out: Path, assemble: Assemble | None, graphs: tuple[str, ...]) -> dict[str, bytes]:
    """The engines of ``graphs`` by name."""
    shutil.copytree(portable.root / "graphs", out / "graphs")
    manifest = replace(portable.manifest, graphs=tuple(portable.graph(name) for name in graphs))
    recipe = Recipe(load("tensorrt-rtx"), SMS, None, assemble)
    engines = compile_graphs(
        out, manifest, "rtx4090", recipe,
        max_prompt=40, use_cache=False, memory_limit=None, progress=lambda phase, done, total: None,
    ).engines  # fmt: skip
    made = {engine.graph: (out / engine.path).read_bytes() for engine in engines.engines}
    assert sorted(path.name for path in (out / "engines" / "rtx4090").iterdir()) == sorted(
        f"{name}.engine" for name in made
    ), "no link or staged graph is left"
    return made


def test_an_engine_holds_the_names_and_programs_of_its_plugins(built: Callable[..., Bundle], tmp_path: Path) -> None:
    made = _compiled(built(target=None, precision="fp16"), tmp_path, assemble, ("prune_0", "prune_2"))
    stages = {"prune_0": (16, 7), "prune_2": (5, 4)}
    for name, (tokens, keep) in stages.items():
        for operator in OPERATORS:
            fields = program(operator, keep=keep, tokens=tokens).fields()
            assert operator.encode() in made[name]
            assert all(fields[field].tobytes() in made[name] for field in ("kernels", "launches", "cubins"))


def test_builds_with_plugins_are_the_same_byte_for_byte(built: Callable[..., Bundle], tmp_path: Path) -> None:
    portable = built(target=None, precision="fp16")
    one = _compiled(portable, tmp_path / "one", assemble, ("gram", "prune_1"))
    two = _compiled(portable, tmp_path / "two, elsewhere", assemble, ("gram", "prune_1"))
    assert one == two
    plain = _compiled(portable, tmp_path / "plain", None, ("gram", "prune_1"))
    assert plain["gram"] == one["gram"], "a graph without our operators does not notice"
    assert all(operator.encode() not in plain["prune_1"] for operator in OPERATORS)


def test_a_program_for_another_shape_is_refused_by_the_parser(built: Callable[..., Bundle], tmp_path: Path) -> None:
    def wrong(operator: str, keep: int, iterations: int, batch: int, tokens: int) -> Program:
        return assemble(operator, keep, iterations, batch, tokens + 1)

    with pytest.raises(BackendError, match=r"prune_0:.*output shape") as error:
        _compiled(built(target=None, precision="fp16"), tmp_path, wrong, ("prune_0",))
    assert "\n" not in str(error.value)


def test_what_tensorrt_serialises_makes_the_same_plugin_again() -> None:
    trt = load("tensorrt-rtx").module
    register(trt)
    register(trt)
    for operator in OPERATORS:
        made = program(operator)
        creator = trt.get_plugin_registry().get_creator(operator, "1", "clasp")
        kinds = {"kernels": trt.PluginFieldType.CHAR, "cubins": trt.PluginFieldType.INT8}
        fields = [
            trt.PluginField(name, data, kinds.get(name, trt.PluginFieldType.INT32))
            for name, data in made.fields().items()
        ]
        collection = trt.PluginFieldCollection(fields)
        first = creator.create_plugin("node", collection, trt.TensorRTPhase.BUILD)
        again = creator.create_plugin("node", first.get_fields_to_serialize(), trt.TensorRTPhase.RUNTIME)
        assert again.program == first.clone().program == made


def test_the_command_puts_our_kernels_into_the_engines(built: Callable[..., Bundle], tmp_path: Path) -> None:
    try:
        nvrtc.load()
    except BackendError as error:
        pytest.skip(str(error))
    portable = built(target=None, precision="fp16", prune_at="encoder")
    made = build(portable.root, tmp_path / "out", target="rtx4090", plugins=True, cache=False)
    assert made.manifest.engines is not None
    held = {engine.graph: engine.plugins for engine in made.manifest.engines.engines}
    assert {name: plugins for name, plugins in held.items() if plugins} == {"prune_0": OPERATORS}
    (engine,) = (engine for engine in made.manifest.engines.engines if engine.plugins)
    data = made.path(engine.path).read_bytes()
    assert compile_kernels("8.9").image in data
    assert all(operator.encode() in data for operator in OPERATORS)
    made.verify()
