"""The C++ plugins are the Python ones: same names and fields, and the same calls of CUDA's driver for the same program.

What needs TensorRT's headers (``TENSORRT_INCLUDE_DIR``, or installed), CMake or cuda-bindings is skipped without.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from clasp_trt.chain import Prune
from clasp_trt.engines.tensorrt.library import load
from clasp_trt.engines.tensorrt.plugin_nodes import bind_plugins
from clasp_trt.engines.tensorrt.unversioned import FOLDER, unversioned_libraries
from clasp_trt.export.pruning.prune import prune_graph
from clasp_trt.operators import PIVOT_SELECT, PLUGIN_NAMESPACE, SPHERICAL_KMEANS
from clasp_trt.ops import ITERATIONS
from clasp_trt.plugins import Image, Program, VaryingProgram
from clasp_trt.plugins.fields import Fields, field_names
from clasp_trt.plugins.launch import MAX_TOKENS, pivot_select_recipe, spherical_kmeans_recipe
from clasp_trt.plugins.launch.recipe import Rule
from clasp_trt.plugins.launcher import Launcher
from clasp_trt.plugins.program import OPERATORS, VARYING
from tests.house import ROOT
from tests.plugins.null_driver import NullDriver
from tests.plugins.programs import assemble, program, varying_program
from tests.started import own_environment

SOURCES, HERE = ROOT / "engines" / "plugins", Path(__file__).parent
INSTALLED = (Path("/usr/include/x86_64-linux-gnu"), Path("/usr/include/aarch64-linux-gnu"))
INCLUDES = (
    *((Path(os.environ["TENSORRT_INCLUDE_DIR"]),) if "TENSORRT_INCLUDE_DIR" in os.environ else ()),
    *INSTALLED,
)
CUDA_INCLUDES = (
    Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "include",
    *(Path(folder) / "nvidia" / name / "include" for folder in sys.path for name in ("cu13", "cuda_runtime")),
)
KINDS = {"kernels": "c", "cubins": "b"}


def _holding(folders: Sequence[Path], header: str) -> Path:
    for folder in folders:
        if (folder / header).is_file():
            return folder
    pytest.skip(f"{header} is not here: TensorRT's and CUDA's headers come with TensorRT and the CUDA toolkit")


def _run(*command: str | Path, stdin: str = "", **changes: str) -> str:
    done = subprocess.run(
        list(map(str, command)), input=stdin, capture_output=True, text=True, check=False,
        env=own_environment(**changes), cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _stdin(fields: Fields) -> str:
    return "".join(f"{name} {KINDS.get(name, 'i')} {data.tobytes().hex()}\n" for name, data in fields.items())


def _drive_python(driver: Path, made: Program, *shapes: str) -> str:
    """What ``drive.py`` and the null ``driver`` below it print for a program."""
    path = os.pathsep.join((str(ROOT), *sys.path))
    return _run(
        sys.executable, HERE / "drive.py", made.operator, *shapes,
        stdin=_stdin(made.fields()), LD_LIBRARY_PATH=str(driver.parent), PYTHONPATH=path,
    )  # fmt: skip


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The null driver as ``libcuda.so.1``."""
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    library = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    _run("g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1",
         HERE / "null_driver.cpp", "-ldl", "-o", library)  # fmt: skip
    return library


@pytest.fixture(scope="module")
def built(driver: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``libclasp_plugins.so``, built by CMake, and ``drive``."""
    tensorrt, cuda = _holding(INCLUDES, "NvInfer.h"), _holding(CUDA_INCLUDES, "cuda.h")
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    out = tmp_path_factory.mktemp("plugins")
    _run("cmake", "-S", SOURCES, "-B", out, f"-DTENSORRT_INCLUDE_DIR={tensorrt}", f"-DCUDA_INCLUDE_DIR={cuda}",
         f"-DCUDA_DRIVER={driver}", "-DCMAKE_CXX_FLAGS=-Werror")  # fmt: skip
    _run("cmake", "--build", out)
    _run("g++", "-std=c++17", "-isystem", tensorrt, "-isystem", cuda, HERE / "drive.cpp", "-ldl", "-o", out / "drive")
    return out


def test_the_sources_name_what_the_python_plugins_name() -> None:
    text = "".join(path.read_text() for path in sorted(SOURCES.glob("*.*")))
    for operator, contract in OPERATORS.items():
        attributes = ", ".join(f'"{name}"' for name in contract.attributes)
        assert f'{{"{operator}", "{contract.version}", {{{attributes}}},' in text
    for contract in (*OPERATORS.values(), *VARYING.values()):
        shared = [name for name in field_names(contract) if name not in contract.attributes]
        before, _, after = ", ".join(f'"{name}"' for name in shared).partition('"cuda"')
        assert before.replace(', "rows", ', "").rstrip(", ") + "}" in text
        assert '{"cuda"' + after + "}" in text
    assert 'emplace_back("rows")' in text
    assert f'kNAMESPACE = "{PLUGIN_NAMESPACE}"' in text
    kinds = dict(re.findall(r"k(TENSOR|WORKSPACE|INT32) = (\d)", text))
    assert kinds == {"TENSOR": "0", "WORKSPACE": "1", "INT32": "2"}
    assert {
        name: int(number) for name, number in re.findall(r"k([A-Z]+) = (\d)", text) if name in Rule.__members__
    } == {rule.name: rule.value for rule in Rule}


@pytest.mark.parametrize("operator", OPERATORS)
def test_cuda_bindings_pass_on_what_the_launcher_means(driver: Path, operator: str) -> None:
    """The same calls arrive at a driver in C as at the null driver of Python, whatever cuda-bindings makes of them."""
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    made, null = program(operator), NullDriver()
    outputs = [0x30000, 0x40000][: len(OPERATORS[operator].outputs)]
    Launcher(made, null)((16, 4), [0x10000, 0x20000], outputs, 0x7F0000000000, 0x1234)
    heard = _drive_python(driver, made, "16,4")
    for function in ("cuFuncSetAttribute", "cuLaunchKernel"):
        expected = [line for line in null.log if line.startswith(function)]
        assert [line for line in heard.splitlines() if line.startswith(function)] == expected * 2


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("tokens", [16, 4096])
def test_the_driver_hears_the_same_from_both(built: Path, driver: Path, operator: str, tokens: int) -> None:
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    made = program(operator, keep=7, tokens=tokens, sms=("8.6", "12.0", "8.9"))
    shape = f"{tokens},7"
    cpp = _run(built / "drive", built / "libclasp_plugins.so", operator, shape, stdin=_stdin(made.fields()))
    assert cpp == _drive_python(driver, made, shape)
    assert "cuLibraryLoadData ELF for 8.9" in cpp
    launches = [line.split()[1] for line in cpp.splitlines() if line.startswith("cuLaunchKernel")]
    assert launches == ["seeds_3", "rounds_2", "seeds_3"] * 2
    assert cpp.count("cuLibraryUnload") == 2


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_driver_hears_the_same_from_both_at_any_shape(built: Path, driver: Path, operator: str) -> None:
    """The most tokens, and the shared memory for them; a shape that comes again; and shapes that there are none of."""
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    made = varying_program(operator, most=2000)
    shapes = ("2000,700", "16,4", "33,17", "16,4", "2001,9", "16,17", "1,1", "900,20")
    cpp = _run(built / "drive", built / "libclasp_plugins.so", operator, *shapes, stdin=_stdin(made.fields()))
    assert cpp == _drive_python(driver, made, *shapes)
    assert cpp.count("refused") == 2 * 2
    assert cpp.count("cuLaunchKernel rounds_2") == 2 * 4
    assert cpp.count("cuFuncSetAttribute") == 2


@pytest.mark.parametrize("operator", OPERATORS)
def test_plans_of_the_kernels_come_out_the_same(built: Path, driver: Path, operator: str) -> None:
    """The recipes of the kernels themselves, whose names end in how many arguments the null driver reads."""
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    recipe = spherical_kmeans_recipe(1) if operator == SPHERICAL_KMEANS.name else pivot_select_recipe(1)
    launches = tuple(replace(each, kernel=f"{each.kernel}_{len(each.arguments)}") for each in recipe.launches)
    iterations = ITERATIONS * (operator == SPHERICAL_KMEANS.name)
    images = (Image("8.9", b"\x7fELF for 8.9"),)
    made = VaryingProgram(operator, iterations, 1, MAX_TOKENS, replace(recipe, launches=launches), 13, images)
    shapes = ("4096,3840", "1,1", "31,31", "33,32", "2047,1000", "2048,1000", "4095,64", "576,65", "4096,4096")
    cpp = _run(built / "drive", built / "libclasp_plugins.so", operator, *shapes, stdin=_stdin(made.fields()))
    assert cpp == _drive_python(driver, made, *shapes)
    assert "refused" not in cpp


@pytest.mark.parametrize("operator", OPERATORS)
def test_fields_that_do_not_fit_together_are_refused_there_too(built: Path, operator: str) -> None:
    fields = dict(program(operator).fields())
    broken = [
        *(
            {**fields, name: fields[name][:end]}
            for name, end in (("launches", -1), ("sms", 0), ("shape", 1), ("cubins", 5))
        ),
        {name: data for name, data in fields.items() if name != "cubins"},
    ]
    varying = dict(varying_program(operator).fields())
    rows = varying["rows"]
    broken += [
        {**varying, "rows": changed}
        for changed in (rows[:-1], rows[:-3], rows[:0], np.append(rows, rows[:3] * 0 + 6).astype(np.int32))
    ]
    broken.append({**varying, "workspace": varying["workspace"] * 0 + len(rows) // 3})
    for each in broken:
        said = _run(built / "drive", built / "libclasp_plugins.so", operator, "16,4", stdin=_stdin(each))
        assert said == "refused\n"


@pytest.mark.trt
@pytest.mark.parametrize("varies", [False, True])
def test_tensorrt_for_rtx_builds_with_them(built: Path, tmp_path: Path, varies: bool) -> None:
    """Its parser and builder use the C++ plugins: types, shapes, formats and fields, through the real interfaces."""
    model, engine = tmp_path / "prune.onnx", tmp_path / "prune.engine"
    ir.save(prune_graph(Prune("prune_0", 0, 16, 4, last=False, varies=varies), 8, "float16"), model)
    bind_plugins(model, assemble)
    load("tensorrt-rtx")  # the links are to what is loaded
    with unversioned_libraries(tmp_path):
        _run(sys.executable, HERE / "build_with_cpp.py", built / "libclasp_plugins.so", model, engine,
             LD_LIBRARY_PATH=str(tmp_path / FOLDER), PYTHONPATH=os.pathsep.join((str(ROOT), *sys.path)))  # fmt: skip
    data = engine.read_bytes()
    for operator in OPERATORS:
        fields = assemble(operator, 5 * (operator != PIVOT_SELECT.name), 1, None if varies else (16, 4)).fields()
        assert operator.encode() in data
        assert all(fields[name].tobytes() in data for name in ("kernels", "launches", "cubins"))


def test_missing_headers_are_named_with_what_to_install(tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    if shutil.which("g++") is None or any((folder / "NvInfer.h").is_file() for folder in INSTALLED):
        pytest.skip("no compiler, or no header missing")
    without = {key: value for key, value in own_environment().items() if key != "TENSORRT_ROOT"}
    command = ["cmake", "-S", str(SOURCES), "-B", str(tmp_path)]
    done = subprocess.run(command, env=without, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "NvInfer.h was not found: install TensorRT's headers" in said
    assert "cmake -DTENSORRT_INCLUDE_DIR=/path/to/include" in said
