"""What an estimate takes for granted. Every plan prints it; ``docs/planning.md`` says how far it holds."""

from __future__ import annotations

from dataclasses import dataclass

from clasp_trt.build_memory import BASE_BYTES, PER_WEIGHT
from clasp_trt.targets import Target
from clasp_trt.tools.plan.machine import Machine


@dataclass(frozen=True)
class Reached:
    """Shares of a GPU's peak that are reached: of its fp16 compute by a prefill with ``floats`` and by one with weights
    of 4 bits, ``int4``, and of its bandwidth by reading weights. Chosen by published figures (``docs/planning.md``)."""

    floats: float
    int4: float
    bandwidth: float


REACHED = Reached(0.42, 0.42, 0.72)
"""Of an Orin, and of every GPU of which nothing was found."""
REACHED_ON_THOR = Reached(0.25, 0.10, 0.85)
"""Some hundred rows do not fill it, and what multiplies 4-bit integers there is far from its peak: FP4 is five times as
fast on the same page."""
TILE_ROWS = 96
"""Products of fewer rows on a GPU take as long as those of so many: tensor cores compute in tiles."""
FP32_FRACTION = 0.5
"""fp32 products (as TF32, TensorRT's default) against fp16 ones."""
CPU_COMPUTE_FRACTION = 0.85
"""Share of the speed of a large fp32 product, measured on the machine, that a prefill reaches there."""
CPU_BANDWIDTH_FRACTION = 0.85
"""Share of the bandwidth of a matrix times a vector, measured on the machine, that a decode step reaches there."""

JETSON_SYSTEM_BYTES = 2_000_000_000
"""Firmware carve-outs and a headless operating system, which share a Jetson's memory."""
HOST_SYSTEM_BYTES = 1_000_000_000
"""The operating system of the machine that runs a CPU bundle."""
CUDA_RUNTIME_BYTES = 1_000_000_000
"""CUDA context, TensorRT with the scratch memory of its engines, and the process around them; so that the memory that
pages state of engines on an Orin is met."""
CPU_RUNTIME_BYTES = 150_000_000
"""ONNX Runtime and the process around it."""


def reached(target: Target) -> Reached:
    """What is reached on a GPU."""
    return REACHED_ON_THOR if target.sm == "11.0" else REACHED


def is_cpu(target: Target) -> bool:
    """Whether a bundle for ``target`` runs on the CPU."""
    return target.sm is None


def shares_memory(target: Target) -> bool:
    """Whether the operating system, and a build on the device, take from the same memory: a Jetson's."""
    return target.jetpack is not None


def system_bytes(target: Target) -> int:
    """Memory of the device that no bundle can have."""
    if shares_memory(target):
        return JETSON_SYSTEM_BYTES
    return HOST_SYSTEM_BYTES if is_cpu(target) else 0


def runtime_bytes(target: Target) -> int:
    """Memory that the runtime takes, whatever the model."""
    return CPU_RUNTIME_BYTES if is_cpu(target) else CUDA_RUNTIME_BYTES


def memory_bytes(target: Target, machine: Machine | None) -> int | None:
    """The memory of the device; None if no figure is known.

    Modules are sold in powers of two, so a data sheet's GB is read as the larger GiB.
    """
    if target.memory_gb is not None:
        return int(target.memory_gb * 2**30)
    return None if machine is None else machine.memory


def describe(target: Target, machine: Machine | None, text_tokens: int, images: int) -> list[str]:
    """The assumptions behind a plan for ``target``, for people to read."""
    beside = "one image" if images == 1 else f"{images} images"
    lines = [f"a prompt of {text_tokens} text tokens beside {beside}; decoding right after the prefill"]
    if is_cpu(target):
        if machine is not None:
            lines.append(
                f"{CPU_COMPUTE_FRACTION:.0%} of {machine.flops / 1e9:.0f} GFLOP/s and {CPU_BANDWIDTH_FRACTION:.0%} of "
                f"{machine.bandwidth / 1e9:.1f} GB/s, both measured on this machine just now, in fp32"
            )
        lines.append("ONNX Runtime on a CPU widens fp16 weights to fp32 in memory")
        lines.append(
            f"{HOST_SYSTEM_BYTES / 1e9:g} GB for the operating system, {CPU_RUNTIME_BYTES / 1e9:g} GB for the runtime"
        )
    else:
        share = reached(target)
        apart = "" if share.int4 == share.floats else f", {share.int4:.0%} with weights of 4 bits,"
        lines.append(
            f"{share.floats:.0%} of {target.fp16_tflops:g} TFLOP/s fp16 (fp32 at half of it){apart} and "
            f"{share.bandwidth:.0%} of {target.bandwidth_gb_s:g} GB/s are reached"
            if target.fp16_tflops is not None and target.bandwidth_gb_s is not None
            else "no published compute and bandwidth for this device, hence no times"
        )
        system = (
            f"{JETSON_SYSTEM_BYTES / 1e9:g} GB for firmware and operating system, " if shares_memory(target) else ""
        )
        lines.append(f"{system}{CUDA_RUNTIME_BYTES / 1e9:g} GB for the runtime with CUDA and TensorRT's scratch")
        lines.append("an engine holds the weights of its graph once, for prefill and decode alike")
        lines.append(f"an engine build takes {BASE_BYTES / 1e9:g} GB + {PER_WEIGHT:g} x the weights of its graph")
    lines.append("not counted: routing, preprocessing, kernel launches, power limits")
    return lines
