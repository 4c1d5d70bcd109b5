"""What runs under compute-sanitizer: ``python -m tests.gpu.harness.sanitized small|large|beyond|race``.

``small`` and ``large`` run every kernel on images of that kind, in memory of exactly the promised size. ``beyond`` and
``race`` run a kernel that is wrong on purpose, which shows whether the tool sees anything on this machine.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from clasp_trt.engines.kernels import Cubin, nvrtc
from clasp_trt.plugins.driver import load_driver
from clasp_trt.plugins.launch import Launch, Plan, Tensor, TensorSpec
from tests.gpu.harness import checks
from tests.gpu.harness.cases import Case, ends
from tests.gpu.harness.device import Device
from tests.gpu.harness.environment import cubin_for, probe

WRONG = {
    "beyond": r"""
extern "C" __global__ void wrong(int* out) { out[threadIdx.x + 1] = 1; }
""",
    "race": r"""
extern "C" __global__ void wrong(int* out) {
    __shared__ int shared[64];
    shared[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = shared[63 - threadIdx.x];  // without a barrier between
}
""",
}
THREADS = 64


def small(device: Device) -> None:
    for case in Case(9, "ties", ends(9)), Case(17, "ties", ends(17)), Case(17, "invalid", ends(17)):
        checks.check_selection(device, case, guard=0)
    checks.check_selection(device, Case(144, "smooth", ends(144)), guard=0)


def large(device: Device) -> None:
    """Sums in several planes."""
    checks.check_selection(device, Case(2880, "ties", (224,)), guard=0)


def compile_wrong(kind: str, like: Cubin) -> bytes:
    """The cubin of a wrong kernel, for the device and by the compiler of ``like``."""
    option = f"--gpu-architecture=sm_{like.architecture.replace('.', '')}"
    return nvrtc.load(like.cuda[0]).compile("wrong.cu", {"wrong.cu": WRONG[kind]}, (option,))[0]


def wrong(kind: str) -> None:
    driver = load_driver()
    image = compile_wrong(kind, cubin_for(probe(driver)))
    launch = Launch("wrong", (1, 1, 1), (THREADS, 1, 1), 0, (Tensor("out"),))
    out = TensorSpec("out", "float32", (THREADS,), is_output=True)
    with suppress(RuntimeError):  # memcheck ends the context; it is for the tool alone to say what was wrong
        Device(driver, image).run(Plan((out,), 0, (launch,)), {}, guard=0)


RIGHT = {"small": small, "large": large}


def main(what: str) -> None:
    if what in RIGHT:
        driver = load_driver()
        device = Device(driver, cubin_for(probe(driver)).image)
        RIGHT[what](device)
        device.close()
    else:
        wrong(what)


if __name__ == "__main__":
    main(*sys.argv[1:])
