"""CUDA kernels of the pruning selection, and their compilation to device code without a GPU.

:mod:`clasp_trt.engines.kernels.nvrtc` speaks to the compiler, :func:`compile_kernels` makes the cubin of one
architecture.
"""

from __future__ import annotations

from clasp_trt.engines.kernels.compile import ARCHITECTURES, Cubin, KernelResources, compile_kernels

__all__ = ["ARCHITECTURES", "Cubin", "KernelResources", "compile_kernels"]
