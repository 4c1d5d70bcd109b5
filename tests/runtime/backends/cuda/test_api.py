"""The TensorRT and the CUDA driver that our sources use are those of the tables, and the null device has no more."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from clasp_trt import targets
from clasp_trt.plugins.library import load_library
from clasp_trt.runtime.backends.cuda import api
from tests.house import ROOT
from tests.runtime.backends.cuda.null_driver import NullCuda

SOURCES = ROOT / "runtime" / "backends" / "cuda"
TOUCHING = {
    "context.py": {"self._context": "IExecutionContext"},
    "layers.py": {"module": ""},
    "library.py": {"module": "", "self.module": "", "self._runtime": "Runtime", "engine": "ICudaEngine",
                   "config": "IRuntimeConfig", "kinds": "DynamicShapesKernelSpecializationStrategy"},
    "session.py": {"trt": "", "made": "IExecutionContext", "self._engine": "ICudaEngine", "engine": "ICudaEngine"},
}  # fmt: skip
"""How our sources call the module (of class "") and the objects that it gives them."""
EVERYTHING = frozenset({*api.SINCE, *api.LATER, *api.RTX_ONLY})


def _uses(source: str, owners: dict[str, str]) -> Iterator[str]:
    """Attributes as the tables spell them, also those that are asked for by ``getattr``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            chain = ast.unparse(node)
            for owner, kind in owners.items():
                if chain.startswith(f"{owner}.") and not node.attr.startswith("__"):
                    rest = chain.removeprefix(f"{owner}.")
                    yield f"{kind}.{rest.partition('.')[0]}" if kind else rest
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            owner, name = ast.unparse(node.args[0]), node.args[1]
            if owner in owners and isinstance(name, ast.Constant):
                yield f"{owners[owner]}.{name.value}"
        elif isinstance(node, ast.ClassDef) and node.bases:  # what we override of its classes
            module, _, base = ast.unparse(node.bases[0]).partition(".")
            if module in owners:
                yield from (f"{base}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef))


def _used() -> set[str]:
    found = {use for name, owners in TOUCHING.items() for use in _uses((SOURCES / name).read_text(), owners)}
    return {use for use in found if "__" not in use}


def test_every_attribute_is_in_a_table_and_every_entry_is_used() -> None:
    assert _used() == EVERYTHING


def test_another_attribute_would_be_seen() -> None:
    owners = TOUCHING["session.py"] | TOUCHING["context.py"]
    for line in ("self._context.execute_v2(1)", "engine.refittable", "trt.BuilderFlag", "getattr(engine, 'name', 1)"):
        assert set(_uses(line, owners)) - EVERYTHING, line


def test_no_other_file_touches_the_module() -> None:
    owners = {"trt": "", "module": "", "library.module": "", "self._library.module": ""}
    others = [path for path in SOURCES.glob("*.py") if path.name not in TOUCHING]
    assert others
    for path in others:
        assert set(_uses(path.read_text(), owners)) == set(), path.name


def test_nothing_is_newer_than_the_oldest_tensorrt_of_a_target() -> None:
    def release(version: str) -> tuple[int, ...]:
        return tuple(int(part) for part in version.split("."))

    oldest = min(release(each.tensorrt) for each in targets.TARGETS.values() if each.tensorrt is not None)
    assert max(map(release, api.SINCE.values())) <= oldest


@pytest.mark.trt
def test_tensorrt_for_rtx_has_what_the_tables_say() -> None:
    trt: Any = load_library("tensorrt-rtx")
    for entry in EVERYTHING:
        found = trt
        for part in entry.split("."):
            found = getattr(found, part)


# --- the driver


def _driver_uses() -> set[str]:
    """Functions and enumerations of ``cuda.bindings.driver`` in ``driver.py``."""
    source = (SOURCES / "driver.py").read_text()
    return {*re.findall(r'"(cu[A-Z]\w+)"', source), *re.findall(r"_?api\.(\w+)", source)}


def test_the_null_driver_has_nothing_that_is_not_used() -> None:
    has = {name for name, _ in inspect.getmembers(NullCuda(), lambda member: True) if re.match(r"cu[A-Z]|CU", name)}
    assert has == _driver_uses()


@pytest.mark.skipif(find_spec("cuda") is None, reason="cuda-bindings is not installed")
def test_the_bindings_have_what_we_use() -> None:
    try:
        driver = import_module("cuda.bindings.driver")
    except ImportError as error:
        pytest.skip(str(error))
    for name in _driver_uses():
        found = getattr(driver, name)
        if name.startswith("cu"):  # the docstring begins with the signature, the only one that compiled code shows
            stated = str(found.__doc__).partition("(")[2].partition(")")[0]
            arguments = [argument for argument in stated.split(",") if argument.strip()]
            assert len(arguments) == len(inspect.signature(getattr(NullCuda(), name)).parameters), name
    for kind, member in (
        ("CUdevice_attribute", "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR"),
        ("CUdevice_attribute", "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR"),
        ("CUstream_flags", "CU_STREAM_NON_BLOCKING"),
        ("CUstreamCaptureMode", "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL"),
        ("CUresult", "CUDA_SUCCESS"),
        ("CUresult", "CUDA_ERROR_OUT_OF_MEMORY"),
    ):
        getattr(getattr(driver, kind), member)


@pytest.mark.skipif(find_spec("cuda") is None, reason="cuda-bindings is not installed")
def test_codes_that_we_give_a_meaning_exist() -> None:
    from clasp_trt.runtime.backends.cuda.errors import _MEANINGS

    try:
        driver = import_module("cuda.bindings.driver")
    except ImportError as error:
        pytest.skip(str(error))
    # a code of a newer driver is none of an older binding's
    assert {code for code in _MEANINGS if not hasattr(driver.CUresult, code)} <= {"CUDA_ERROR_CONTAINED"}
