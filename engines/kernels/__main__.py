"""Prints what each kernel takes of a multiprocessor, as the table of ``docs/kernels.md``."""

from __future__ import annotations

from clasp_trt.engines.kernels import ARCHITECTURES, compile_kernels
from clasp_trt.engines.kernels.nvrtc import MAJORS


def resource_table() -> str:
    """Registers per thread on each architecture, static shared memory, and bytes spilled, in Markdown."""
    cubins = [compile_kernels(architecture, MAJORS[0]) for architecture in ARCHITECTURES]
    version = ".".join(str(part) for part in cubins[0].cuda)
    head = ["kernel", *(f"sm_{architecture.replace('.', '')}" for architecture in ARCHITECTURES), "shared", "spilled"]
    lines = [
        f"Registers per thread by architecture, static shared memory and spilled bytes, NVRTC {version}:",
        "",
        f"| {' | '.join(head)} |",
        f"|---|{'---:|' * (len(head) - 1)}",
    ]
    for kernel in cubins[0].resources:
        of_each = [cubin.resources[kernel] for cubin in cubins]
        shared, spilled = max(each.shared_bytes for each in of_each), max(each.spill_bytes for each in of_each)
        cells = [f"`{kernel}`", *(str(each.registers) for each in of_each), str(shared), str(spilled)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(resource_table())
