"""Graphs that the tracer has made before, read from pytest's cache: tracing a tower of a few layers takes seconds.

What is kept is the graph of :func:`clasp_trt.export.trace.capture`, which has no weights. Its key holds all that it
depends on: the module with its config, the ports, the sources under ``export/`` and the libraries that trace.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any

from tests.house import ROOT

TRACERS = ("torch", "transformers", "onnxscript", "onnx-ir", "onnx")
CODE = ("clasp_trt.export.", "torch.", "transformers.")
COUNTERS = ("_value_counter", "_node_counter")
"""Of the names that a graph gives to what is added later; a file does not have them."""

Capture = Callable[[Any, Any], Any]


def kept_in(cache: Path, capture: Capture) -> Capture:
    """``capture``, which traces only what ``cache`` does not have; graphs of other sources are swept out of it."""
    folder = cache / _tracer()
    folder.mkdir(exist_ok=True)
    for other in cache.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)  # another process may sweep too

    def captured(module: Any, ports: Any) -> Any:
        if not all(type(part).__module__.startswith(CODE) for part in module.modules()):
            return capture(module, ports)  # a test's own module, whose source no key holds
        path = folder / f"{_key(module, ports)}.onnx"
        if not path.is_file():
            _keep(capture(module, ports), {name for name, _ in module.named_parameters()}, path)
        return _kept(path)

    return captured


def _keep(model: Any, parameters: set[str], path: Path) -> None:
    import onnx_ir as ir

    for name in parameters & set(model.graph.initializers):
        value = model.graph.initializers[name]
        shape, dtype = value.const_value.shape, value.const_value.dtype
        value.const_value = ir.ExternalTensor("no file", 0, 0, dtype, shape=shape, name=name)
    for counter in COUNTERS:
        model.graph.metadata_props[counter] = str(getattr(model.graph._name_authority, counter))
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_bytes(ir.to_proto(model).SerializeToString())
    beside.replace(path)


def _kept(path: Path) -> Any:
    import onnx_ir as ir

    model = ir.load(path)
    for counter in COUNTERS:
        setattr(model.graph._name_authority, counter, int(model.graph.metadata_props.pop(counter)))
    return model


def _key(module: Any, ports: Any) -> str:
    return hashlib.sha256(repr([*_parts(module), ports]).encode()).hexdigest()[:32]


def _parts(module: Any) -> Iterator[tuple[object, ...]]:
    """What tells one module from another."""
    for name, part in module.named_modules():
        own = {key: _plain(value) for key, value in vars(part).items() if key not in _machinery()}
        tensors = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        yield (
            name,
            type(part).__module__,
            type(part).__qualname__,
            sorted(own.items()),
            [(key, _plain(value)) for key, value in tensors],
        )


@cache
def _machinery() -> frozenset[str]:
    """The attributes of every module, its tensors and children among them."""
    import torch

    return frozenset(vars(torch.nn.Module()))


def _plain(value: Any) -> str:
    """A value as text that is the same in every process; raises TypeError for one that it does not know."""
    import torch
    from transformers import PretrainedConfig

    if isinstance(value, torch.Tensor):
        values = None if value.is_meta else value.tolist()
        return repr((tuple(value.shape), value.dtype, values))
    if isinstance(value, PretrainedConfig):
        return value.to_json_string(use_diff=False) + str(value._attn_implementation)
    if isinstance(value, set | frozenset):
        return repr(sorted(value))
    if isinstance(value, dict):
        return repr({key: _plain(each) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return repr([_plain(each) for each in value])
    if value is None or isinstance(value, bool | int | float | str | torch.dtype):
        return repr(value)
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, partial):
        return repr([_plain(each) for each in (value.func, value.args, value.keywords)])
    raise TypeError(f"no key for {value!r}")


@cache
def _tracer() -> str:
    """The sources and libraries that trace."""
    found = hashlib.sha256(repr((sys.version, [version(name) for name in TRACERS])).encode())
    for path in sorted((ROOT / "export").rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:32]
