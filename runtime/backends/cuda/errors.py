"""What a code of the CUDA driver means to the one who runs a bundle."""

from __future__ import annotations

_NO_GPU = (
    "there is no CUDA GPU here that the driver can use; check `nvidia-smi`, and in a container that the GPU is passed "
    "on, or build the bundle with --backend onnxruntime"
)
_OLD_DRIVER = "the CUDA driver here does not fit the installed CUDA libraries; update the driver"
_WRONG_SM = (
    "the GPU here is of another compute capability than the code that was given to it; build the bundle for this GPU"
)
_LOST = "; the memory of this process on the GPU is lost: load the bundle again, and please report it"

_MEANINGS = {
    "CUDA_ERROR_NOT_INITIALIZED": _NO_GPU,
    "CUDA_ERROR_NO_DEVICE": _NO_GPU,
    "CUDA_ERROR_INVALID_DEVICE": _NO_GPU,
    "CUDA_ERROR_STUB_LIBRARY": _NO_GPU,
    "CUDA_ERROR_SYSTEM_NOT_READY": _NO_GPU,
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": _OLD_DRIVER,
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE": _OLD_DRIVER,
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": _OLD_DRIVER,
    "CUDA_ERROR_DEVICE_UNAVAILABLE": "another process has the GPU to itself; end it, or choose another GPU with "
    "CUDA_VISIBLE_DEVICES",
    "CUDA_ERROR_NO_BINARY_FOR_GPU": _WRONG_SM,
    "CUDA_ERROR_INVALID_PTX": _WRONG_SM,
    "CUDA_ERROR_OUT_OF_MEMORY": "the GPU is out of memory; end other programs on it, or build with a smaller "
    "--max-context or --max-prompt, or in fp16",
    "CUDA_ERROR_ILLEGAL_ADDRESS": f"the GPU stopped at an address that is not its own{_LOST}",
    "CUDA_ERROR_MISALIGNED_ADDRESS": f"the GPU stopped at an address that is not aligned{_LOST}",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE": f"the GPU stopped at an address of another kind of memory{_LOST}",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION": f"the GPU stopped at an instruction that it does not know{_LOST}",
    "CUDA_ERROR_INVALID_PC": f"the GPU stopped outside its program{_LOST}",
    "CUDA_ERROR_HARDWARE_STACK_ERROR": f"the GPU stopped with a broken stack{_LOST}",
    "CUDA_ERROR_ASSERT": f"a check inside a kernel failed{_LOST}",
    "CUDA_ERROR_LAUNCH_FAILED": f"a kernel failed on the GPU{_LOST}",
    "CUDA_ERROR_LAUNCH_TIMEOUT": "a kernel took longer than the display that this GPU also drives allows; use a GPU "
    "without a display",
    "CUDA_ERROR_ECC_UNCORRECTABLE": "the GPU found an error in its memory that it cannot correct; restart it, and have "
    "it looked at if that comes again",
    "CUDA_ERROR_CONTAINED": "the GPU found an error in its memory and ended this program; start it again",
}


def sentence(code: str, doing: str) -> str:
    """One sentence for the name ``code`` of a ``CUresult`` that came back while ``doing`` something."""
    meaning = _MEANINGS.get(code, "the CUDA driver refused; please report it")
    return f"{doing}: {meaning} ({code})"


def out_of_memory(what: str, requested: int, available: int, total: int) -> str:
    """What to say when ``requested`` bytes for ``what`` cannot be had, ``available`` of ``total`` being free."""
    return (
        f"the GPU is out of memory: {what} takes {_megabytes(requested)}, but {_megabytes(available)} of "
        f"{_megabytes(total)} are free; end other programs on the GPU, or build with a smaller --max-context or "
        "--max-prompt, or in fp16"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 10_000_000 else f"{size / 1e6:.2f} MB"
