"""The part of TensorRT that plugins use, without TensorRT: it has what ``plugins/api.py`` lists and no more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np


class DataType(Enum):
    FLOAT, HALF, INT32, INT64, BOOL = range(5)


class TensorFormat(Enum):
    LINEAR, CHW4 = range(2)


class PluginFieldType(Enum):
    CHAR, INT8, INT32 = range(3)


class PluginField:
    """Holds the array: the real one holds its address alone."""

    def __init__(self, name: str, data: Any, type: PluginFieldType) -> None:
        wanted = np.int32 if type is PluginFieldType.INT32 else np.int8
        assert data.dtype == wanted
        self.name, self.data, self.type, self.size = name, data, type, len(data)


class _Size:
    def __init__(self, value: int | None) -> None:
        self._value = value

    def is_constant(self) -> bool:
        return self._value is not None

    def get_constant_value(self) -> int:
        assert self._value is not None
        return self._value


class ExprBuilder:
    def constant(self, value: int) -> _Size:
        return _Size(value)


class DimsExprs(list[_Size]):
    pass


def dims(*sizes: int | None) -> DimsExprs:
    """Dimensions of an input; None stands for one that is not known yet."""
    return DimsExprs(map(_Size, sizes))


def sizes(shape: DimsExprs) -> list[int]:
    return [size.get_constant_value() for size in shape]


def tensor(type: DataType, format: TensorFormat = TensorFormat.LINEAR) -> SimpleNamespace:
    """What formats are negotiated over."""
    return SimpleNamespace(desc=SimpleNamespace(type=type, format=format))


def described(*shapes: Sequence[int]) -> list[SimpleNamespace]:
    """What a plugin is told of tensors: the shape of each when it is about to run, and the most when it is built."""
    return [SimpleNamespace(dims=shape, max=shape) for shape in shapes]


class Registry:
    def __init__(self) -> None:
        self.creators: dict[tuple[str, str, str], Any] = {}
        self.refuses = False

    def get_creator(self, name: str, version: str, namespace: str) -> Any:
        return self.creators.get((name, version, namespace))

    def register_creator(self, creator: Any, namespace: str) -> bool:
        key = (creator.name, creator.plugin_version, namespace)
        assert namespace == creator.plugin_namespace
        if self.refuses or key in self.creators:
            return False
        self.creators[key] = creator
        return True


def module() -> Any:
    """A fresh fake, with a registry of its own."""
    registry = Registry()

    class IPluginV3:
        def __init__(self) -> None: ...

    class IPluginV3OneCore:
        def __init__(self) -> None: ...

    class IPluginV3OneBuild:
        def __init__(self) -> None: ...

    class IPluginV3OneRuntime:
        def __init__(self) -> None: ...

    class IPluginCreatorV3One:
        def __init__(self) -> None: ...

    def collection(fields: Iterable[PluginField]) -> list[PluginField]:
        return list(fields)

    return SimpleNamespace(
        DataType=DataType,
        DimsExprs=DimsExprs,
        IPluginCreatorV3One=IPluginCreatorV3One,
        IPluginV3=IPluginV3,
        IPluginV3OneBuild=IPluginV3OneBuild,
        IPluginV3OneCore=IPluginV3OneCore,
        IPluginV3OneRuntime=IPluginV3OneRuntime,
        PluginField=PluginField,
        PluginFieldCollection=collection,
        PluginFieldType=PluginFieldType,
        TensorFormat=TensorFormat,
        get_plugin_registry=lambda: registry,
    )
