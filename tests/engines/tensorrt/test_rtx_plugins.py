"""Real engines with plugins, by TensorRT for RTX: parsed, shaped, negotiated and serialised without a GPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.engines.tensorrt.builder import Recipe
from clasp_trt.engines.tensorrt.compile import compile_graphs
from clasp_trt.engines.tensorrt.library import load
from clasp_trt.engines.tensorrt.plugin_nodes import Assemble
from clasp_trt.engines.tensorrt.programs import assembler
from clasp_trt.errors import BackendError
from clasp_trt.operators import SPHERICAL_KMEANS
from clasp_trt.ops import ITERATIONS
from clasp_trt.plugins import Program, register
from clasp_trt.tools.build.compiler import build
from tests.plugins.programs import OPERATORS, assemble, program, varying_program

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
    def wrong(operator: str, iterations: int, batch: int, counts: tuple[int, int] | None) -> Program:
        assert counts is not None
        return assemble(operator, iterations, batch, (counts[0] + 1, counts[1]))

    with pytest.raises(BackendError, match=r"prune_0:.*output shape") as error:
        _compiled(built(target=None, precision="fp16"), tmp_path, wrong, ("prune_0",))
    assert "\n" not in str(error.value)


def test_what_tensorrt_serialises_makes_the_same_plugin_again() -> None:
    trt = load("tensorrt-rtx").module
    register(trt)
    register(trt)
    for made in (*map(program, OPERATORS), *map(varying_program, OPERATORS)):
        operator = made.operator
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


@pytest.fixture
def kernels() -> Assemble:
    try:
        return assembler(("8.9",))
    except BackendError as error:
        pytest.skip(str(error))


def _holds(engine: bytes, kernels: Assemble, counts: tuple[int, int] | None) -> bool:
    programs = (
        kernels(operator, ITERATIONS * (operator == SPHERICAL_KMEANS.name), 1, counts) for operator in OPERATORS
    )
    fields = [made.fields() for made in programs]
    named = ("launches", "cubins", "keep" if counts else "rows")
    return all(each[name].tobytes() in engine for each in fields for name in named)


def test_an_engine_of_fixed_sizes_holds_our_plans(
    built: Callable[..., Bundle], kernels: Assemble, tmp_path: Path
) -> None:
    made = _compiled(built(target=None, precision="fp16"), tmp_path, kernels, ("prune_2",))
    assert _holds(made["prune_2"], kernels, (5, 4))


def test_the_command_puts_our_kernels_into_the_engines(
    built: Callable[..., Bundle], kernels: Assemble, tmp_path: Path
) -> None:
    """Of one picture or two, so that the numbers of tokens are a request's."""
    portable = built(target=None, precision="fp16", prune_at="encoder", max_images=2)
    assert portable.manifest.model.varies
    made = build(portable.root, tmp_path / "out", target="rtx4090", plugins=True, cache=False)
    assert made.manifest.engines is not None
    held = {engine.graph: engine.plugins for engine in made.manifest.engines.engines}
    assert {name: plugins for name, plugins in held.items() if plugins} == {"prune_0": OPERATORS}
    (engine,) = (engine for engine in made.manifest.engines.engines if engine.plugins)
    data = made.path(engine.path).read_bytes()
    assert _holds(data, kernels, None)
    assert all(operator.encode() in data for operator in OPERATORS)
    made.verify()
