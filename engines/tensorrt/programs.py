"""What the plugins of a build carry: launches planned for the sizes of a graph, and kernels for the GPUs it is for."""

from __future__ import annotations

from collections.abc import Sequence

from clasp_trt.engines.kernels import ARCHITECTURES, compile_kernels
from clasp_trt.engines.tensorrt.plugin_nodes import Assemble
from clasp_trt.errors import BackendError
from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.plugins import Image, Program
from clasp_trt.plugins.launch import pivot_select, spherical_kmeans

_PLANS = {
    PIVOT_SELECT.name: lambda keep, iterations, batch, tokens: pivot_select(batch, tokens, keep),
    SPHERICAL_KMEANS.name: lambda keep, iterations, batch, tokens: spherical_kmeans(batch, tokens, keep, iterations),
}


def assembler(sms: Sequence[str], cuda: int | None = None) -> Assemble:
    """Makes the programs of a build for compute capabilities ``sms``; the kernels are compiled here, seconds for each.

    ``cuda`` is the major version of CUDA whose compiler to take, or None for the newest there is. Raises
    :class:`BackendError` if there is no compiler, or none that knows one of ``sms``.
    """
    cubins = [compile_kernels(architecture, cuda) for architecture in dict.fromkeys(map(architecture_for, sms))]
    images = tuple(Image(cubin.architecture, cubin.image) for cubin in cubins)
    (major,) = {cubin.cuda[0] for cubin in cubins}

    def assemble(operator: str, keep: int, iterations: int, batch: int, tokens: int) -> Program:
        return Program(operator, keep, iterations, _PLANS[operator](keep, iterations, batch, tokens), major, images)

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
