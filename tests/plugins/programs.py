"""Programs to test with. Kernels end in their number of arguments, which is all that the null drivers know of them."""

from __future__ import annotations

from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.plugins import Image, Program
from clasp_trt.plugins.launch import Int32, Launch, Plan, Tensor, Workspace
from clasp_trt.plugins.program import OPERATORS as CONTRACTS
from clasp_trt.plugins.program import tensors

OPERATORS = (PIVOT_SELECT.name, SPHERICAL_KMEANS.name)


def program(
    operator: str, keep: int = 4, iterations: int = 5, batch: int = 1, tokens: int = 16, sms: tuple[str, ...] = ("8.9",)
) -> Program:
    """A program of ``operator`` in which every kind of argument occurs and one kernel is launched twice."""
    rounds = iterations if operator == SPHERICAL_KMEANS.name else 0
    bound = tensors(CONTRACTS[operator], batch, tokens, keep)
    first, second, third = (Tensor(spec.name) for spec in bound[:3])
    launches = (
        Launch("seeds_3", (2, 1, 1), (128, 1, 1), 0, (first, Workspace(256), Int32(tokens))),
        Launch("rounds_2", (tokens, 2, 1), (32, 4, 1), 65536, (Workspace(0), Int32(-1))),
        Launch("seeds_3", (1, 1, 3), (64, 1, 2), 1024, (second, third, Int32(keep))),
    )
    images = tuple(Image(sm, f"\x7fELF for {sm}, {operator}".encode()) for sm in sms)
    return Program(operator, keep, rounds, Plan(bound, 512, launches), 12, images)


def assemble(operator: str, keep: int, iterations: int, batch: int, tokens: int) -> Program:
    """Does for a builder what the kernels' own assembler does, with :func:`program`."""
    return program(operator, keep, iterations, batch, tokens)
