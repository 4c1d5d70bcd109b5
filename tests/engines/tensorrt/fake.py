"""A TensorRT that builds nothing: it records what it was asked and refuses what the real one would.

It has no more than the attributes of ``engines/tensorrt/api.py``, so that any other is an error here as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx

from tests.plugins import fake_trt

Range = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
SHAPE_INPUTS = ("kv_length",)


@dataclass
class Record:
    """What a build asked for."""

    parsed: list[str] = field(default_factory=list)
    opsets: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    profiles: list[dict[str, Range]] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)
    set: list[str] = field(default_factory=list)
    workspace: int | None = None
    plugins: list[tuple[str, ...]] = field(default_factory=list)


def module(
    record: Record,
    *,
    version: str = "10.3.0",
    engine: bytes | None = b"engine",
    error: str = "",
) -> Any:
    """A fake ``tensorrt``: every build gives ``engine`` (None: it fails, and logs ``error``)."""

    plugins = fake_trt.module()
    registry = plugins.get_plugin_registry()

    class ILogger:
        ERROR, INTERNAL_ERROR, WARNING = 1, 0, 2

        def log(self, severity: int, message: str) -> None:
            raise NotImplementedError

    class IProgressMonitor:
        pass

    class Profile:
        def __init__(self) -> None:
            self.sizes: dict[str, Range] = {}
            self.extra_memory_target = 1.0

        def set_shape(self, name: str, least: Any, usual: Any, most: Any) -> None:
            assert name not in SHAPE_INPUTS
            self._set(name, least, usual, most)

        def set_shape_input(self, name: str, least: Any, usual: Any, most: Any) -> None:
            assert name in SHAPE_INPUTS
            self._set(name, least, usual, most)

        def _set(self, name: str, *sizes: tuple[int, ...]) -> None:
            assert name not in self.sizes
            assert all(a <= b <= c for a, b, c in zip(*sizes, strict=True)), (name, sizes)
            self.sizes[name] = sizes  # type: ignore[assignment]

    class Config:
        def __init__(self) -> None:
            self.progress_monitor: Any = None

        def clear_flag(self, flag: str) -> None:
            record.cleared.append(flag)

        def set_flag(self, flag: str) -> None:
            record.set.append(flag)

        def set_memory_pool_limit(self, pool: str, size: int) -> None:
            assert pool == "workspace"
            record.workspace = size

        def add_optimization_profile(self, profile: Profile) -> int:
            assert profile.extra_memory_target == 0, "a profile of its own weights"
            record.profiles.append(profile.sizes)
            return len(record.profiles) - 1

    class Network:
        def __init__(self) -> None:
            self.inputs: list[SimpleNamespace] = []

        @property
        def num_inputs(self) -> int:
            return len(self.inputs)

        def get_input(self, index: int) -> SimpleNamespace:
            return self.inputs[index]

    class OnnxParser:
        num_errors = 0

        def __init__(self, network: Network, logger: ILogger) -> None:
            self.network = network

        def parse_from_file(self, path: str) -> bool:
            onnx.checker.check_model(path, full_check=True)
            model = onnx.load(path, load_external_data=False)
            assert not model.functions, "a call that names a plugin makes the parser look for it"
            record.parsed.append(Path(path).name)
            record.opsets.append(model.opset_import[0].version)
            calls = {node.op_type for node in model.graph.node if node.domain == "clasp"}
            assert all(registry.get_creator(name, "1", "clasp") for name in calls), "the plugin is not registered"
            record.plugins.append(tuple(sorted(calls)))
            for port in model.graph.input:
                self.network.inputs.append(SimpleNamespace(name=port.name, is_shape_tensor=port.name in SHAPE_INPUTS))
            return True

    class Builder:
        def __init__(self, logger: ILogger) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Network:
            record.flags.append(flags)
            return Network()

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            watch = config.progress_monitor
            watch.phase_start("build", None, 2)
            watch.phase_start("inner", "build", 2)
            for phase, step in (("inner", 0), ("inner", 1), ("build", 0), ("build", 1)):
                if not watch.step_complete(phase, step):
                    return None
            watch.phase_finish("inner")
            watch.phase_finish("build")
            self.logger.log(ILogger.WARNING, "not of interest")
            if engine is None:
                self.logger.log(ILogger.ERROR, error)
            return engine

    return SimpleNamespace(
        **vars(plugins),
        __version__=version,
        Builder=Builder,
        ILogger=ILogger,
        IProgressMonitor=IProgressMonitor,
        BuilderFlag=SimpleNamespace(TF32="TF32", SPARSE_WEIGHTS="SPARSE_WEIGHTS"),
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=3),
        OnnxParser=OnnxParser,
    )
