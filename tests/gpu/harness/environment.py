"""What the check runs on: the device, its driver, and the libraries found. Says in one sentence what is missing."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from clasp_trt.engines.kernels import ARCHITECTURES, Cubin, compile_kernels, nvrtc
from clasp_trt.errors import BackendError
from clasp_trt.plugins.driver import call
from tests.gpu.harness.device import open_first
from tests.started import own_environment

TENSORRT = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
_MODULES = ("torch", "onnx", "onnxruntime", "transformers", *TENSORRT, "faiss", "cuvs", "flash_kmeans")
_SANITIZERS = ("compute-sanitizer", "/usr/local/cuda/bin/compute-sanitizer", "/opt/cuda/bin/compute-sanitizer")


@dataclass(frozen=True)
class Environment:
    """``capability`` such as ``"9.0"``, ``cuda`` the release that the driver knows, such as ``"13.0"``; versions of
    what is installed by name."""

    device: str
    capability: str
    cuda: str
    driver: str
    memory_gb: float
    l2_mb: float
    multiprocessors: int
    versions: Mapping[str, str] = field(default_factory=dict)


def probe(driver: Any) -> Environment:
    """Raises :class:`BackendError` with one sentence where there is no CUDA device, or the driver refuses it."""
    try:
        device = open_first(driver)
        made = call(driver, "cuDriverGetVersion")
        name = call(driver, "cuDeviceGetName", 128, device)
        memory = call(driver, "cuDeviceTotalMem", device)
    except RuntimeError as error:  # also how cuda-bindings says that there is no libcuda
        raise BackendError(
            f"there is no CUDA GPU here that the driver can use ({error}); run this on a machine with one, "
            "and look at `nvidia-smi` there"
        ) from error

    def attribute(what: str) -> int:
        kind = getattr(driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{what}")
        return int(call(driver, "cuDeviceGetAttribute", kind, device))

    return Environment(
        device=name.partition(b"\0")[0].decode(errors="replace"),
        capability=f"{attribute('COMPUTE_CAPABILITY_MAJOR')}.{attribute('COMPUTE_CAPABILITY_MINOR')}",
        cuda=f"{made // 1000}.{made % 1000 // 10}",
        driver=_driver_release(),
        memory_gb=round(int(memory) / 1e9, 1),
        l2_mb=round(attribute("L2_CACHE_SIZE") / 1e6, 1),
        multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
        versions=_versions(),
    )


def cubin_for(environment: Environment) -> Cubin:
    """The kernels for the device, by the newest NVRTC whose code its driver loads.

    Raises :class:`BackendError` if there is no such compiler, or there are no kernels for the device.
    """
    known = int(environment.cuda.partition(".")[0])
    architecture = _architecture_for(environment.capability)
    fitting = [major for major in nvrtc.MAJORS if major <= known]
    refusal: BackendError | None = None
    for major in fitting:
        try:
            return compile_kernels(architecture, major)
        except BackendError as error:
            refusal = refusal or error
    raise refusal or BackendError(f"the driver here knows CUDA {environment.cuda}, the kernels need at least CUDA 12")


def tensorrt() -> Any:
    """The TensorRT module that is installed, or None."""
    for name in TENSORRT:
        try:
            return import_module(name)
        except Exception:  # missing, or without its libraries
            continue
    return None


def sanitizer() -> str | None:
    """The path of compute-sanitizer, or None."""
    return next(filter(None, map(shutil.which, _SANITIZERS)), None)


def _architecture_for(capability: str) -> str:
    """The architecture whose code the device runs: its own, or the next older of its major version."""
    major, minor = capability.split(".")
    fitting = [each for each in ARCHITECTURES if each.startswith(f"{major}.") and int(each.split(".")[1]) <= int(minor)]
    if not fitting:
        raise BackendError(f"there are no kernels for SM {capability}, only for {', '.join(ARCHITECTURES)}")
    return max(fitting, key=lambda each: int(each.split(".")[1]))


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    owners = packages_distributions()
    wanted = dict.fromkeys(owner for module in _MODULES for owner in owners.get(module, ()))
    for name in ("cuda-bindings", *wanted):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    compilers = list[str]()
    for major in nvrtc.MAJORS:
        with suppress(BackendError):
            compilers.append(".".join(map(str, nvrtc.load(major).version)))
    return {**found, "NVRTC": ", ".join(compilers) or "none"}


def _driver_release() -> str:
    """Such as 580.159.04; "unknown" where nobody tells."""
    program = shutil.which("nvidia-smi")
    if program:
        command = [program, "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
        with suppress(OSError, subprocess.TimeoutExpired):
            said = subprocess.run(
                command, env=own_environment(), capture_output=True, text=True, timeout=20, check=False
            )
            if said.returncode == 0 and said.stdout.strip():
                return said.stdout.split()[0]
    with suppress(OSError):
        words = Path("/proc/driver/nvidia/version").read_text().split()
        return next((word for word in words if word.count(".") == 2 and word.replace(".", "").isdigit()), "unknown")
    return "unknown"
