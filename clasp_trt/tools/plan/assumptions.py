"""What an estimate takes for granted. Every plan prints it; ``docs/planning.md`` says how far it holds."""

from __future__ import annotations

from clasp_trt.build_memory import BASE_BYTES, PER_WEIGHT
from clasp_trt.targets import Target
from clasp_trt.tools.plan.machine import Machine

COMPUTE_FRACTION = 0.42
"""Share of a GPU's peak compute that a prefill reaches; chosen by published figures of the AGX Orin."""
BANDWIDTH_FRACTION = 0.72
"""Share of a GPU's peak bandwidth that reading weights reaches, from the same figures."""
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
CUDA_RUNTIME_BYTES = 600_000_000
"""CUDA context, TensorRT and the process around them."""
CPU_RUNTIME_BYTES = 150_000_000
"""ONNX Runtime and the process around it."""


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
        lines.append(
            f"{COMPUTE_FRACTION:.0%} of {target.fp16_tflops:g} TFLOP/s fp16 (fp32 at half of it) and "
            f"{BANDWIDTH_FRACTION:.0%} of {target.bandwidth_gb_s:g} GB/s are reached"
            if target.fp16_tflops is not None and target.bandwidth_gb_s is not None
            else "no published compute and bandwidth for this device, hence no times"
        )
        system = (
            f"{JETSON_SYSTEM_BYTES / 1e9:g} GB for firmware and operating system, " if shares_memory(target) else ""
        )
        lines.append(f"{system}{CUDA_RUNTIME_BYTES / 1e9:g} GB for the runtime with its CUDA context")
        lines.append("an engine holds the weights of its graph once, for prefill and decode alike")
        lines.append(f"an engine build takes {BASE_BYTES / 1e9:g} GB + {PER_WEIGHT:g} x the weights of its graph")
    lines.append("not counted: routing, preprocessing, kernel launches, power limits")
    return lines
