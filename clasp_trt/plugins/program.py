"""What a plugin carries: the operator's attributes, its launch plan, and the cubins with the kernels that it launches.

Its fields are those of the TensorRT plugin, of the ONNX node that the parser makes it from, and of the engine:

==============  =======  ==========================================================================================
``keep``        int32    tokens kept by the stage
``iterations``  int32    rounds of assignment and update (``ClaspSphericalKMeans`` alone)
``shape``       int32    ``batch, tokens`` that the launches are for
``workspace``   int32    bytes of scratch
``kernels``     char     names of the kernels in the cubins, each once, separated by spaces
``launches``    int32    one after the other: index of the kernel, grid (3), block (3), bytes of dynamic shared memory,
                         number of arguments, and for each of these its kind and its value
``cuda``        int32    major version of CUDA that the cubins are for; older drivers cannot load them
``sms``         int32    compute capability of each cubin, times ten
``sizes``       int32    bytes of each cubin
``cubins``      int8     the cubins, one after the other
==============  =======  ==========================================================================================

Kinds of arguments: 0 the address of tensor number ``value``, where outputs are counted after the inputs, 1 that of byte
``value`` of the workspace, 2 the int32 ``value`` itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS, OpContract, OpTensor
from clasp_trt.plugins.launch import Argument, Int32, Launch, Plan, Tensor, TensorSpec, Workspace

OPERATORS = {contract.name: contract for contract in (PIVOT_SELECT, SPHERICAL_KMEANS)}
"""The operators that there are plugins of, by name."""

Fields = Mapping[str, NDArray[np.generic]]
"""Fields of a plugin by name: arrays of int32, or of int8 for characters and bytes."""

_TENSOR, _WORKSPACE, _INT32 = range(3)  # kinds of arguments
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Image:
    """A ``cubin`` for the compute capability ``sm``, such as ``"8.9"``."""

    sm: str
    cubin: bytes


@dataclass(frozen=True)
class Program:
    """One operator at one shape.

    ``iterations`` is 0 for an operator without any, ``cuda`` the major version of CUDA that made the images. Raises
    :class:`ValueError` where the parts do not fit together.
    """

    operator: str
    keep: int
    iterations: int
    plan: Plan
    cuda: int
    images: tuple[Image, ...]

    def __post_init__(self) -> None:
        contract = OPERATORS.get(self.operator)
        if contract is None:
            raise ValueError(f"there is no plugin {self.operator}, expected one of {', '.join(OPERATORS)}")
        if (self.iterations > 0) != ("iterations" in contract.attributes):
            raise ValueError(f"{self.operator} cannot run {self.iterations} iterations")
        if not self.images or not self.plan.launches:
            raise ValueError(f"{self.operator} has no cubin, or nothing to launch")
        if min(self.batch, self.keep) < 1 or self.keep > self.tokens:
            raise ValueError(f"{self.operator} cannot keep {self.keep} of {self.batch} x {self.tokens} tokens")
        if self.plan.tensors != tensors(contract, self.batch, self.tokens, self.keep):
            raise ValueError(f"{self.operator} was planned for other tensors than its contract names")
        names = {spec.name for spec in self.plan.tensors}
        for launch in self.plan.launches:
            for argument in launch.arguments:
                if isinstance(argument, Tensor) and argument.name not in names:
                    raise ValueError(f"{launch.kernel} reads {argument.name}, which {self.operator} does not have")
                if isinstance(argument, Workspace) and not 0 <= argument.offset < self.plan.workspace_bytes:
                    raise ValueError(
                        f"{launch.kernel} reads byte {argument.offset} of a workspace of {self.plan.workspace_bytes}"
                    )

    @property
    def batch(self) -> int:
        return self.plan.tensors[0].shape[0]

    @property
    def tokens(self) -> int:
        return self.plan.tensors[0].shape[1]

    def fields(self) -> Fields:
        """The fields of the plugin, in the order of the table above. Raises :class:`ValueError` beyond 32 bits."""
        plan = self.plan
        numbers = (number for launch in plan.launches for number in _numbers(launch, plan))
        own = {"keep": self.keep, "iterations": self.iterations}
        return {
            **{name: _ints(own[name]) for name in OPERATORS[self.operator].attributes},
            "shape": _ints(self.batch, self.tokens),
            "workspace": _ints(plan.workspace_bytes),
            "kernels": _bytes(" ".join(plan.kernels).encode("ascii")),
            "launches": _ints(*numbers),
            "cuda": _ints(self.cuda),
            "sms": _ints(*(int(image.sm.replace(".", "")) for image in self.images)),
            "sizes": _ints(*(len(image.cubin) for image in self.images)),
            "cubins": _bytes(b"".join(image.cubin for image in self.images)),
        }

    @staticmethod
    def read(operator: str, fields: Fields) -> Program:
        """The program that ``fields`` describe. Raises :class:`ValueError` where they do not describe one."""
        known = field_names(operator)
        if missing := [name for name in known if name not in fields]:
            raise ValueError(
                f"{operator} lacks the field {missing[0]}: the graph was not made for plugins; "
                "build it by `clasp-trt build --plugins`"
            )
        kernels = fields["kernels"].tobytes().rstrip(b"\0").decode("ascii").split(" ")  # parsers end text by a zero
        numbers = {name: [int(each) for each in fields[name]] for name in known if fields[name].dtype == np.int32}
        try:
            (keep,), (workspace,), (cuda,) = (numbers[name] for name in ("keep", "workspace", "cuda"))
            (iterations,) = numbers.get("iterations", [0])
            (batch, tokens) = numbers["shape"]
            bound = tensors(OPERATORS[operator], batch, tokens, keep)
            launches = tuple(_launches(numbers["launches"], kernels, bound))
            images = tuple(_images(numbers["sms"], numbers["sizes"], fields["cubins"].tobytes()))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{operator} has fields that do not fit together ({error}); build it again") from error
        return Program(operator, keep, iterations, Plan(bound, workspace, launches), cuda, images)


def field_names(operator: str) -> tuple[str, ...]:
    """The names of the fields of the plugin of ``operator``, in their order."""
    own = tuple(OPERATORS[operator].attributes)
    return (*own, "shape", "workspace", "kernels", "launches", "cuda", "sms", "sizes", "cubins")


def tensors(contract: OpContract, batch: int, tokens: int, keep: int) -> tuple[TensorSpec, ...]:
    """The inputs and outputs of ``contract`` at these sizes."""
    sizes = {"batch": batch, "tokens": tokens, "keep": keep}

    def specs(ports: Mapping[str, OpTensor], is_output: bool) -> Iterator[TensorSpec]:
        for name, port in ports.items():
            yield TensorSpec(name, port.dtype, tuple(sizes[axis] for axis in port.axes), is_output)

    return (*specs(contract.inputs, False), *specs(contract.outputs, True))


def _numbers(launch: Launch, plan: Plan) -> Iterator[int]:
    yield plan.kernels.index(launch.kernel)
    yield from (*launch.grid, *launch.block, launch.shared_bytes, len(launch.arguments))
    names = [spec.name for spec in plan.tensors]
    for argument in launch.arguments:
        if isinstance(argument, Tensor):
            yield from (_TENSOR, names.index(argument.name))
        elif isinstance(argument, Workspace):
            yield from (_WORKSPACE, argument.offset)
        else:
            yield from (_INT32, argument.value)


def _launches(numbers: Sequence[int], kernels: Sequence[str], bound: Sequence[TensorSpec]) -> Iterator[Launch]:
    rest = iter(numbers)
    names = [spec.name for spec in bound]

    def take(count: int) -> list[int]:
        taken = list(islice(rest, count))
        if len(taken) != count:
            raise ValueError("a launch is cut off")
        return taken

    for kernel in rest:
        gx, gy, gz, bx, by, bz, shared, count = take(8)
        arguments = tuple(_argument(take(2), names) for _ in range(count))
        yield Launch(_at(kernels, kernel), (gx, gy, gz), (bx, by, bz), shared, arguments)


def _argument(pair: Sequence[int], names: Sequence[str]) -> Argument:
    kind, value = pair
    if kind == _TENSOR:
        return Tensor(_at(names, value))
    if kind not in (_WORKSPACE, _INT32):
        raise ValueError(f"an argument of kind {kind}")
    return Workspace(value) if kind == _WORKSPACE else Int32(value)


def _at(names: Sequence[str], index: int) -> str:
    if not 0 <= index < len(names):
        raise ValueError(f"there is no number {index} among {', '.join(names)}")
    return names[index]


def _images(sms: Sequence[int], sizes: Sequence[int], cubins: bytes) -> Iterator[Image]:
    if len(sms) != len(sizes) or sum(sizes) != len(cubins) or min(sizes, default=1) < 1:
        raise ValueError(f"{len(cubins)} bytes of cubins, but sizes {list(sizes)} for {list(sms)}")
    start = 0
    for sm, size in zip(sms, sizes, strict=True):
        yield Image(f"{sm // 10}.{sm % 10}", cubins[start : start + size])
        start += size


def _ints(*values: int) -> NDArray[np.generic]:
    if any(abs(value) > _LARGEST for value in values):
        raise ValueError(f"{max(values, key=abs)} does not fit the 32 bits of a plugin's field")
    return np.array(values, dtype=np.int32)


def _bytes(value: bytes) -> NDArray[np.generic]:
    return np.frombuffer(value, dtype=np.int8)
