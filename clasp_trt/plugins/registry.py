"""Makes the plugins known to a TensorRT module."""

from __future__ import annotations

from typing import Any

from clasp_trt.errors import BackendError
from clasp_trt.operators import PLUGIN_NAMESPACE
from clasp_trt.plugins.plugin import creator
from clasp_trt.plugins.program import OPERATORS

_ALIVE: list[Any] = []  # creators for as long as the process: TensorRT keeps their addresses and not them


def register(trt: Any) -> None:
    """Registers a creator of each plugin with ``trt``; those that are there already stay, C++ ones included.

    To be called before a graph with plugins is parsed, and before an engine with plugins is deserialised. Loads nothing
    of CUDA. Raises :class:`BackendError` if TensorRT refuses.
    """
    registry = trt.get_plugin_registry()
    for operator, contract in OPERATORS.items():
        if registry.get_creator(operator, str(contract.version), PLUGIN_NAMESPACE) is not None:
            continue
        made = creator(trt, operator)
        _ALIVE.append(made)
        if not registry.register_creator(made, PLUGIN_NAMESPACE):
            raise BackendError(f"TensorRT refuses the plugin {operator}; report this")
