"""The Python plugins, as classes made over a TensorRT module that is passed in.

TensorRT's own classes are their bases, so the classes exist once the module is known. An exception that leaves one of
their methods is caught by TensorRT's bindings, printed, and turned into a failure of the call: none crosses C++.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clasp_trt.operators import PLUGIN_NAMESPACE
from clasp_trt.plugins.driver import load_driver
from clasp_trt.plugins.fields import Fields, field_names
from clasp_trt.plugins.launcher import Launcher
from clasp_trt.plugins.program import OPERATORS, VARYING, FixedProgram, Program, read

_TEXT, _BYTES = "kernels", "cubins"  # the fields that are not of int32


def creator(trt: Any, operator: str, load: Callable[[], Any] = load_driver) -> Any:
    """An ``IPluginCreatorV3One`` for the plugin of ``operator``; ``load`` gives the module of CUDA's driver."""
    make = _plugin_class(trt, operator, load)

    class Creator(trt.IPluginCreatorV3One):  # type: ignore[misc]  # the module has no types
        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)  # TensorRT wants its own initialiser, not super()'s
            self.name = operator
            self.plugin_version = str(OPERATORS[operator].version)
            self.plugin_namespace = PLUGIN_NAMESPACE
            # a node has those of one kind; the parser looks for all that are named here
            names = dict.fromkeys((*field_names(OPERATORS[operator]), *field_names(VARYING[operator])))
            empty = {name: np.empty(0, np.int8 if name in (_TEXT, _BYTES) else np.int32) for name in names}
            self.field_names, self._kept = _collection(trt, empty)

        def create_plugin(self, name: str, field_collection: Any, phase: Any) -> Any:
            fields = {field.name: np.array(field.data) for field in field_collection}  # copies: TensorRT's own may go
            return make(read(operator, fields))

    return Creator()


def _plugin_class(trt: Any, operator: str, load: Callable[[], Any]) -> Callable[[Program], Any]:
    capabilities = (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime)
    dtypes = {"float32": trt.DataType.FLOAT, "int64": trt.DataType.INT64, "bool": trt.DataType.BOOL}

    class Plugin(*capabilities):  # type: ignore[misc]
        """One plugin in all of its roles; a clone shares the program and has no launcher."""

        def __init__(self, program: Program) -> None:
            for base in capabilities:
                base.__init__(self)
            contract = program.contract
            self.program, self.contract = program, contract
            self.types = [dtypes[port.dtype] for port in (*contract.inputs.values(), *contract.outputs.values())]
            self.launcher: Launcher | None = None
            self.num_outputs = len(contract.outputs)
            self.plugin_name = operator
            self.plugin_version = str(contract.version)
            self.plugin_namespace = PLUGIN_NAMESPACE
            # held here, because TensorRT reads the addresses after the call that returns them
            self.serialised, self._kept = _collection(trt, program.fields())

        def get_capability_interface(self, type: Any) -> Any:
            return self

        def clone(self) -> Any:
            return Plugin(self.program)

        def destroy(self) -> None:
            if self.launcher is not None:
                self.launcher.close()

        # Refusals belong here: the parser reports them. Once a network is being built, TensorRT for RTX may die of one.
        def get_output_data_types(self, input_types: Any) -> list[Any]:
            wanted = self.types[: -self.num_outputs]
            if list(input_types) != wanted:
                raise TypeError(f"{operator} takes inputs {wanted}, but is given {list(input_types)}")
            return self.types[-self.num_outputs :]

        def get_output_shapes(self, inputs: Any, shape_inputs: Any, expr_builder: Any) -> list[Any]:
            axes = {axis: expr_builder.constant(size) for axis, size in self.program.sizes.items()}
            for dims, port in zip(inputs, self.contract.inputs.values(), strict=True):
                sizes = [dims[index] for index in range(len(dims))]
                found = [size.get_constant_value() if size.is_constant() else "?" for size in sizes]
                wanted = [self.program.sizes.get(axis) for axis in port.axes]
                if len(found) != len(wanted) or any(
                    each not in (None, has) for each, has in zip(wanted, found, strict=True)
                ):
                    named = [axis if size is None else size for axis, size in zip(port.axes, wanted, strict=True)]
                    raise ValueError(f"{operator} was planned for an input {named}, but is given {found}")
                for axis, size in zip(port.axes, sizes, strict=True):
                    axes.setdefault(axis, size)
            return [trt.DimsExprs([axes[axis] for axis in port.axes]) for port in self.contract.outputs.values()]

        def supports_format_combination(self, pos: int, in_out: Any, num_inputs: int) -> bool:
            desc = in_out[pos].desc
            return bool(desc.format == trt.TensorFormat.LINEAR and desc.type == self.types[pos])

        def configure_plugin(self, dynamic_in: Any, dynamic_out: Any) -> None: ...

        def get_workspace_size(self, dynamic_in: Any, dynamic_out: Any) -> int:
            return self.program.workspace_bytes(*_counts(self.program, [dynamic.max for dynamic in dynamic_in]))

        def get_valid_tactics(self) -> list[int]:
            return []  # one way to do it, which TensorRT numbers 0

        def set_tactic(self, tactic: int) -> None: ...

        def get_fields_to_serialize(self) -> Any:
            return self.serialised

        def attach_to_context(self, resource_context: Any) -> Any:
            attached = self.clone()
            attached.launcher = Launcher(self.program, load())
            return attached

        def on_shape_change(self, inputs: Any, outputs: Any) -> None:
            if self.launcher is None:  # a builder that times plugins does so without a context
                self.launcher = Launcher(self.program, load())
            self.launcher.prepare(*_counts(self.program, [desc.dims for desc in inputs]))

        def enqueue(
            self, input_desc: Any, output_desc: Any, inputs: list[int], outputs: list[int], workspace: int, stream: int
        ) -> None:
            if self.launcher is None:
                raise RuntimeError(f"{operator} was not attached to a context")
            counts = _counts(self.program, [desc.dims for desc in input_desc])
            self.launcher(counts, inputs, outputs, workspace, stream)

    return Plugin


def _counts(program: Program, shapes: Sequence[Sequence[int]]) -> tuple[int, int]:
    """The tokens, and how many of them stay, of inputs with these ``shapes``."""
    if isinstance(program, FixedProgram):
        return program.tokens, program.keep
    sizes = dict(program.sizes)
    for port, shape in zip(program.contract.inputs.values(), shapes, strict=True):
        sizes.update(zip(port.axes, shape, strict=True))
    return sizes["tokens"], sizes["keep"]


def _collection(trt: Any, fields: Fields) -> tuple[Any, list[Any]]:
    """A ``PluginFieldCollection``, and what must live as long as it does, since it holds addresses alone."""
    kinds = {_TEXT: trt.PluginFieldType.CHAR, _BYTES: trt.PluginFieldType.INT8}
    made = [trt.PluginField(name, data, kinds.get(name, trt.PluginFieldType.INT32)) for name, data in fields.items()]
    return trt.PluginFieldCollection(made), [made, list[NDArray[np.generic]](fields.values())]
