"""Programs to test with. Kernels end in their number of arguments, which is all that the null drivers know of them."""

from __future__ import annotations

from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.plugins import FixedProgram, Image, Program, VaryingProgram
from clasp_trt.plugins.launch import Int32, Launch, Plan, Tensor, Workspace
from clasp_trt.plugins.launch.recipe import Sheet
from clasp_trt.plugins.program import OPERATORS as CONTRACTS
from clasp_trt.plugins.program import tensors

OPERATORS = (PIVOT_SELECT.name, SPHERICAL_KMEANS.name)


def program(
    operator: str, keep: int = 4, iterations: int = 5, batch: int = 1, tokens: int = 16, sms: tuple[str, ...] = ("8.9",)
) -> FixedProgram:
    """A program of ``operator`` in which every kind of argument occurs and one kernel is launched twice."""
    bound = tensors(CONTRACTS[operator], batch, tokens, keep)
    first, second, third = (Tensor(spec.name) for spec in bound[:3])
    launches = (
        Launch("seeds_3", (2, 1, 1), (128, 1, 1), 0, (first, Workspace(256), Int32(tokens))),
        Launch("rounds_2", (tokens, 2, 1), (32, 4, 1), 65536, (Workspace(0), Int32(-1))),
        Launch("seeds_3", (1, 1, 3), (64, 1, 2), 1024, (second, third, Int32(keep))),
    )
    return FixedProgram(
        operator, keep, _rounds(operator, iterations), Plan(bound, 512, launches), 12, _images(operator, sms)
    )


def varying_program(
    operator: str, iterations: int = 5, batch: int = 1, most: int = 4096, sms: tuple[str, ...] = ("8.9",)
) -> VaryingProgram:
    """The same for any numbers of tokens: rules of every kind occur, one launch is none where half of the tokens stay,
    and another asks for more shared memory the more tokens there are."""
    sheet = Sheet()
    tokens, keep = sheet.tokens, sheet.keep
    first, second, third = map(Tensor, (*CONTRACTS[operator].inputs, next(iter(CONTRACTS[operator].outputs))))
    parts = sheet.take(4 * tokens), sheet.take(8 * keep)
    sheet.launch("seeds_3", tokens.over(32) * batch, 128, 0, (first, parts[1], sheet.int32(tokens)))
    sheet.launch("rounds_2", (2 * keep).below(tokens), 64, 64 * tokens, (parts[0], sheet.int32(tokens + keep)))
    sheet.launch("seeds_3", sheet.number(1), 32, 1024, (second, third, sheet.int32(keep)))
    return VaryingProgram(
        operator, _rounds(operator, iterations), batch, most, sheet.recipe(), 12, _images(operator, sms)
    )  # fmt: skip


def assemble(operator: str, iterations: int, batch: int, counts: tuple[int, int] | None) -> Program:
    """Does for a builder what the kernels' own assembler does, with :func:`program` and :func:`varying_program`."""
    if counts is None:
        return varying_program(operator, iterations, batch)
    tokens, keep = counts
    return program(operator, keep, iterations, batch, tokens)


def _rounds(operator: str, iterations: int) -> int:
    return iterations if operator == SPHERICAL_KMEANS.name else 0


def _images(operator: str, sms: tuple[str, ...]) -> tuple[Image, ...]:
    return tuple(Image(sm, f"\x7fELF for {sm}, {operator}".encode()) for sm in sms)
