"""Fields of a plugin: names, and how launches, recipes and cubins become arrays of numbers and back.

==============  =======  ==========================================================================================
``keep``        int32    tokens kept by the stage; absent where they are those of a request
``iterations``  int32    rounds of assignment and update (``ClaspSphericalKMeans`` alone)
``shape``       int32    ``batch, tokens`` that the launches are for, or the most of the latter where they vary
``workspace``   int32    bytes of scratch
``kernels``     char     names of the kernels in the cubins, each once, separated by spaces
``launches``    int32    one after the other: index of the kernel, grid (3), block (3), bytes of dynamic shared memory,
                         number of arguments, and for each of these its kind and its value
``rows``        int32    only where the numbers of tokens are those of a request: three for each row of the recipe
``cuda``        int32    major version of CUDA that the cubins are for; older drivers cannot load them
``sms``         int32    compute capability of each cubin, times ten
``sizes``       int32    bytes of each cubin
``cubins``      int8     the cubins, one after the other
==============  =======  ==========================================================================================

Kinds of arguments: 0 the address of tensor number ``value``, where outputs are counted after the inputs, 1 that of byte
``value`` of the workspace, 2 the int32 ``value`` itself.

Where there are ``rows``, workspace, grid, block, shared memory and the values of kinds 1 and 2 are not the numbers
themselves, but number rows (:class:`~clasp_trt.plugins.launch.recipe.Recipe`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from clasp_trt.operators import OpContract
from clasp_trt.plugins.launch import Argument, Int32, Launch, Tensor, Workspace

Fields = Mapping[str, NDArray[np.generic]]
"""Fields of a plugin by name: arrays of int32, or of int8 for characters and bytes."""

ROWS = "rows"
LARGEST = 2**31 - 1

_TENSOR, _WORKSPACE, _INT32 = range(3)  # kinds of arguments


@dataclass(frozen=True)
class Image:
    """A ``cubin`` for the compute capability ``sm``, such as ``"8.9"``."""

    sm: str
    cubin: bytes


def field_names(contract: OpContract) -> tuple[str, ...]:
    """The names of the fields of the plugin with this ``contract``, in their order."""
    rows = () if "keep" in contract.attributes else (ROWS,)
    own = tuple(contract.attributes)
    return (*own, "shape", "workspace", "kernels", "launches", *rows, "cuda", "sms", "sizes", "cubins")


def write(
    contract: OpContract, numbers: Mapping[str, Sequence[int]], launches: Sequence[Launch], images: Sequence[Image]
) -> Fields:
    """All fields: ``numbers`` are those that are neither of the launches nor of the images.

    Raises :class:`ValueError` beyond 32 bits.
    """
    kernels = kernels_of(launches)
    fields = {
        **{name: _ints(*values) for name, values in numbers.items()},
        "kernels": _bytes(" ".join(kernels).encode("ascii")),
        "launches": _ints(*(number for launch in launches for number in _numbers(launch, kernels, _names(contract)))),
        "sms": _ints(*(int(image.sm.replace(".", "")) for image in images)),
        "sizes": _ints(*(len(image.cubin) for image in images)),
        "cubins": _bytes(b"".join(image.cubin for image in images)),
    }
    return {name: fields[name] for name in field_names(contract)}


def numbers_of(contract: OpContract, fields: Fields) -> Mapping[str, list[int]]:
    """Those of ``fields`` that are int32. Raises :class:`ValueError` if one of the contract is missing."""
    known = field_names(contract)
    if missing := [name for name in known if name not in fields]:
        raise ValueError(
            f"{contract.name} lacks the field {missing[0]}: the graph was not made for plugins; "
            "build it by `clasp-trt build --plugins`"
        )
    return {name: [int(each) for each in fields[name]] for name in known if fields[name].dtype == np.int32}


def launches_of(contract: OpContract, fields: Fields, numbers: Sequence[int]) -> tuple[Launch, ...]:
    """The launches that ``numbers`` say, with kernels from the ``fields``. Raises :class:`ValueError`."""
    kernels = fields["kernels"].tobytes().rstrip(b"\0").decode("ascii").split(" ")  # parsers end text by a zero
    return tuple(_launches(numbers, kernels, _names(contract)))


def images_of(sms: Sequence[int], sizes: Sequence[int], cubins: bytes) -> tuple[Image, ...]:
    """The images that lie in ``cubins`` one after the other. Raises :class:`ValueError`."""
    if len(sms) != len(sizes) or sum(sizes) != len(cubins) or min(sizes, default=1) < 1:
        raise ValueError(f"{len(cubins)} bytes of cubins, but sizes {list(sizes)} for {list(sms)}")
    ends = np.cumsum([0, *sizes]).tolist()
    return tuple(
        Image(f"{sm // 10}.{sm % 10}", cubins[start:end]) for sm, start, end in zip(sms, ends, ends[1:], strict=False)
    )


def kernels_of(launches: Sequence[Launch]) -> tuple[str, ...]:
    """Entry points that are launched, each once, in order of first use."""
    return tuple(dict.fromkeys(launch.kernel for launch in launches))


def _names(contract: OpContract) -> tuple[str, ...]:
    return (*contract.inputs, *contract.outputs)


def _numbers(launch: Launch, kernels: Sequence[str], names: Sequence[str]) -> Iterator[int]:
    yield kernels.index(launch.kernel)
    yield from (*launch.grid, *launch.block, launch.shared_bytes, len(launch.arguments))
    for argument in launch.arguments:
        if isinstance(argument, Tensor):
            yield from (_TENSOR, names.index(argument.name))
        elif isinstance(argument, Workspace):
            yield from (_WORKSPACE, argument.offset)
        else:
            yield from (_INT32, argument.value)


def _launches(numbers: Sequence[int], kernels: Sequence[str], names: Sequence[str]) -> Iterator[Launch]:
    rest = iter(numbers)

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


def _ints(*values: int) -> NDArray[np.generic]:
    if any(abs(value) > LARGEST for value in values):
        raise ValueError(f"{max(values, key=abs)} does not fit the 32 bits of a plugin's field")
    return np.array(values, dtype=np.int32)


def _bytes(value: bytes) -> NDArray[np.generic]:
    return np.frombuffer(value, dtype=np.int8)
