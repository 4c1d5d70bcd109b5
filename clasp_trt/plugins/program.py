"""What a plugin carries: an operator's launches, and the cubins with the kernels that it launches.

Its fields are those of the TensorRT plugin, of the ONNX node that the parser makes it from, and of the engine:
:mod:`clasp_trt.plugins.fields` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS, OpContract, OpTensor, varying
from clasp_trt.plugins import fields
from clasp_trt.plugins.fields import Fields, Image
from clasp_trt.plugins.launch import Launch, Plan, Recipe, Tensor, TensorSpec, Workspace

OPERATORS = {contract.name: contract for contract in (PIVOT_SELECT, SPHERICAL_KMEANS)}
"""The operators that there are plugins of, by name."""
VARYING = {name: varying(contract) for name, contract in OPERATORS.items()}
"""The same, where the numbers of tokens are those of a request."""


@dataclass(frozen=True)
class FixedProgram:
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
        contract = _checked(self.operator, self.iterations, self.plan.launches, self.images, OPERATORS)
        if min(self.batch, self.keep) < 1 or self.keep > self.tokens:
            raise ValueError(f"{self.operator} cannot keep {self.keep} of {self.batch} x {self.tokens} tokens")
        if self.plan.tensors != tensors(contract, self.batch, self.tokens, self.keep):
            raise ValueError(f"{self.operator} was planned for other tensors than its contract names")
        _check_names(contract, self.plan.launches)
        for launch in self.plan.launches:
            for argument in launch.arguments:
                if isinstance(argument, Workspace) and not 0 <= argument.offset < self.plan.workspace_bytes:
                    raise ValueError(
                        f"{launch.kernel} reads byte {argument.offset} of a workspace of {self.plan.workspace_bytes}"
                    )

    @property
    def contract(self) -> OpContract:
        return OPERATORS[self.operator]

    @property
    def batch(self) -> int:
        return self.plan.tensors[0].shape[0]

    @property
    def tokens(self) -> int:
        return self.plan.tensors[0].shape[1]

    @property
    def sizes(self) -> Mapping[str, int]:
        """The sizes of axes that are known before a request."""
        return {"batch": self.batch, "tokens": self.tokens, "keep": self.keep}

    @property
    def kernels(self) -> tuple[str, ...]:
        return self.plan.kernels

    def workspace_bytes(self, tokens: int, keep: int) -> int:
        """What is needed where up to ``keep`` of up to ``tokens`` stay."""
        return self.at(tokens, keep).workspace_bytes

    def at(self, tokens: int, keep: int) -> Plan:
        """The plan where ``keep`` of ``tokens`` stay. Raises :class:`ValueError` if it is for another shape."""
        if (tokens, keep) != (self.tokens, self.keep):
            raise ValueError(f"{self.operator} keeps {self.keep} of {self.tokens} tokens, not {keep} of {tokens}")
        return self.plan

    def fields(self) -> Fields:
        """The fields of the plugin. Raises :class:`ValueError` beyond 32 bits."""
        numbers = {
            "keep": [self.keep],
            "iterations": [self.iterations],
            "shape": [self.batch, self.tokens],
            "workspace": [self.plan.workspace_bytes],
            "cuda": [self.cuda],
        }
        return fields.write(self.contract, numbers, self.plan.launches, self.images)


@dataclass(frozen=True)
class VaryingProgram:
    """One operator for ``batch`` rows of any 1 to ``most`` tokens, of which any number stays.

    Otherwise as :class:`FixedProgram`.
    """

    operator: str
    iterations: int
    batch: int
    most: int
    recipe: Recipe
    cuda: int
    images: tuple[Image, ...]

    def __post_init__(self) -> None:
        contract = _checked(self.operator, self.iterations, self.recipe.launches, self.images, VARYING)
        _check_names(contract, self.recipe.launches)
        if min(self.batch, self.most) < 1:
            raise ValueError(f"{self.operator} cannot choose from {self.batch} x {self.most} tokens")

    @property
    def contract(self) -> OpContract:
        return VARYING[self.operator]

    @property
    def sizes(self) -> Mapping[str, int]:
        """The sizes of axes that are known before a request."""
        return {"batch": self.batch}

    @property
    def kernels(self) -> tuple[str, ...]:
        return fields.kernels_of(self.recipe.launches)

    def workspace_bytes(self, tokens: int, keep: int) -> int:
        """What is needed where up to ``keep`` of up to ``tokens`` stay."""
        return self.at(tokens, keep).workspace_bytes

    def at(self, tokens: int, keep: int) -> Plan:
        """The plan where ``keep`` of ``tokens`` stay. Raises :class:`ValueError` if there is none."""
        if not 1 <= keep <= tokens <= self.most:
            raise ValueError(f"{self.operator} keeps 1 to all of 1 to {self.most} tokens, not {keep} of {tokens}")
        workspace, launches = self.recipe.at(tokens, keep)
        return Plan(tensors(self.contract, self.batch, tokens, keep), workspace, launches)

    def fields(self) -> Fields:
        """The fields of the plugin. Raises :class:`ValueError` beyond 32 bits."""
        numbers = {
            "iterations": [self.iterations],
            "shape": [self.batch, self.most],
            "workspace": [self.recipe.workspace],
            fields.ROWS: [number for row in self.recipe.rows for number in row],
            "cuda": [self.cuda],
        }
        return fields.write(self.contract, numbers, self.recipe.launches, self.images)


Program = FixedProgram | VaryingProgram


def read(operator: str, given: Fields) -> Program:
    """The program that the fields of a plugin describe. Raises :class:`ValueError` where they do not describe one."""
    contract = (VARYING if fields.ROWS in given else OPERATORS)[operator]
    numbers = fields.numbers_of(contract, given)
    try:
        (workspace,), (cuda,), (iterations,) = numbers["workspace"], numbers["cuda"], numbers.get("iterations", [0])
        batch, tokens = numbers["shape"]
        launches = fields.launches_of(contract, given, numbers["launches"])
        images = fields.images_of(numbers["sms"], numbers["sizes"], given["cubins"].tobytes())
        if fields.ROWS in given:
            flat = iter(numbers[fields.ROWS])
            recipe = Recipe(tuple(zip(flat, flat, flat, strict=True)), workspace, launches)
            return VaryingProgram(operator, iterations, batch, tokens, recipe, cuda, images)
        (keep,) = numbers["keep"]
        plan = Plan(tensors(contract, batch, tokens, keep), workspace, launches)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{operator} has fields that do not fit together ({error}); build it again") from error
    return FixedProgram(operator, keep, iterations, plan, cuda, images)


def tensors(contract: OpContract, batch: int, tokens: int, keep: int) -> tuple[TensorSpec, ...]:
    """The inputs and outputs of ``contract`` at these sizes."""
    sizes = {"batch": batch, "tokens": tokens, "keep": keep}

    def specs(ports: Mapping[str, OpTensor], is_output: bool) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name, port.dtype, tuple(sizes[axis] for axis in port.axes), is_output)
            for name, port in ports.items()
        )

    return (*specs(contract.inputs, False), *specs(contract.outputs, True))


def _checked(
    operator: str,
    iterations: int,
    launches: tuple[Launch, ...],
    images: tuple[Image, ...],
    contracts: Mapping[str, OpContract],
) -> OpContract:
    """The contract of ``operator``. Raises :class:`ValueError` where the parts do not fit it."""
    contract = contracts.get(operator)
    if contract is None:
        raise ValueError(f"there is no plugin {operator}, expected one of {', '.join(contracts)}")
    if (iterations > 0) != ("iterations" in contract.attributes):
        raise ValueError(f"{operator} cannot run {iterations} iterations")
    if not images or not launches:
        raise ValueError(f"{operator} has no cubin, or nothing to launch")
    return contract


def _check_names(contract: OpContract, launches: tuple[Launch, ...]) -> None:
    names = {*contract.inputs, *contract.outputs}
    for launch in launches:
        for argument in launch.arguments:
            if isinstance(argument, Tensor) and argument.name not in names:
                raise ValueError(f"{launch.kernel} reads {argument.name}, which {contract.name} does not have")
