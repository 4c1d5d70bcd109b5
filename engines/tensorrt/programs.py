"""What the plugins of a build carry: launches for the sizes of a graph, or a recipe for any, and kernels for GPUs."""

from __future__ import annotations

from collections.abc import Sequence

from clasp_trt.engines.kernels import ARCHITECTURES, compile_kernels
from clasp_trt.engines.tensorrt.plugin_nodes import Assemble
from clasp_trt.errors import BackendError
from clasp_trt.operators import SPHERICAL_KMEANS
from clasp_trt.plugins import FixedProgram, Image, Program, VaryingProgram
from clasp_trt.plugins.launch import (
    MAX_TOKENS,
    pivot_select,
    pivot_select_recipe,
    spherical_kmeans,
    spherical_kmeans_recipe,
)


def assembler(sms: Sequence[str], cuda: int | None = None) -> Assemble:
    """Makes the programs of a build for compute capabilities ``sms``; the kernels are compiled here, seconds for each.

    ``cuda`` is the major version of CUDA whose compiler to take, or None for the newest there is. Raises
    :class:`BackendError` if there is no compiler, or none that knows one of ``sms``.
    """
    cubins = [compile_kernels(architecture, cuda) for architecture in dict.fromkeys(map(architecture_for, sms))]
    images = tuple(Image(cubin.architecture, cubin.image) for cubin in cubins)
    (major,) = {cubin.cuda[0] for cubin in cubins}

    def assemble(operator: str, iterations: int, batch: int, counts: tuple[int, int] | None) -> Program:
        kmeans = operator == SPHERICAL_KMEANS.name
        if counts is None:
            recipe = spherical_kmeans_recipe(batch, iterations) if kmeans else pivot_select_recipe(batch)
            return VaryingProgram(operator, iterations, batch, MAX_TOKENS, recipe, major, images)
        plan = spherical_kmeans(batch, *counts, iterations) if kmeans else pivot_select(batch, *counts)
        return FixedProgram(operator, counts[1], iterations, plan, major, images)

    return assemble


def architecture_for(sm: str) -> str:
    """The architecture whose code a GPU of capability ``sm`` runs: its own, or the next older of its major version.

    Raises :class:`BackendError` if there are no kernels for it.
    """
    major, minor = sm.split(".")
    fitting = [each for each in ARCHITECTURES if each.split(".")[0] == major and int(each.split(".")[1]) <= int(minor)]
    if not fitting:
        raise BackendError(f"--plugins: there are no kernels for SM {sm}, only for {', '.join(ARCHITECTURES)}; drop it")
    return max(fitting, key=lambda each: int(each.split(".")[1]))
