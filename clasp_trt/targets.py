"""The devices that a bundle can be built for: one table of published facts, and what is legal on each.

A figure without a public source is ``None``, never a guess. Peak compute is dense: what a data sheet states
with 2:4 sparsity is halved, and ``derivation`` says so. Dense fp16 runs at half the dense INT8 rate, hence at a
quarter of the sparse one, which is what Orin's documents print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING

from clasp_trt.errors import TargetError

if TYPE_CHECKING:
    from clasp_trt.quantization import Quantization, Scheme
    from clasp_trt.schedule import Schedule
    from clasp_trt.sparsity import Sparsity

BACKENDS = ("onnxruntime", "tensorrt", "tensorrt-rtx")
MAX_TOPK = 3840
"""The largest K of TopK that TensorRT 10 and 11 and TensorRT for RTX take, itself included:
https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/operators/TopK.html"""
COMPILED = ("tensorrt", "tensorrt-rtx")  # of these, the ones that run engines instead of graphs
SPARSE_SM = 8.0
"""The first compute capability with products that skip weights of which 2 of 4 are zero: NVIDIA A100's whitepaper."""
PROVIDERS = ("cpu", "cuda", "tensorrt")  # of ONNX Runtime, by our names
PRECISIONS = ("fp32", "fp16", "bf16")
PORTABLE_OPSET = 24  # Attention, RotaryEmbedding and RMSNormalization are opset 23, TensorScatter 24
OLD_OPSET = 23  # the newest of ONNX Runtime 1.23, the last release for Python 3.10 and so for JetPack 6

# Newest ONNX opset that the parser of each TensorRT release reads, from its release notes; ascending.
_TENSORRT_OPSETS = (((10, 0), 20), ((10, 9), 22), ((10, 13), 24), ((11, 0), 25))

# TensorRT for RTX compiles for SM 7.5, 8.0, 8.6, 8.9, 12.0 and 12.1: not for Orin, Hopper or Thor.
_TENSORRT_ONLY = ("tensorrt", "onnxruntime")
_TENSORRT_FIRST = ("tensorrt", "tensorrt-rtx", "onnxruntime")
_RTX_FIRST = ("tensorrt-rtx", "tensorrt", "onnxruntime")


@dataclass(frozen=True)
class Release:
    """A JetPack: its version, the TensorRT that it ships, and its own Python."""

    jetpack: str
    tensorrt: str
    python: str


_JETPACK_6 = Release("6.2", "10.3", "3.10")
_JETPACK_7_LATER = Release("7.2.2", "11.4", "3.12")


@dataclass(frozen=True)
class Target:
    """One device, and the software its row was written for.

    ``sm`` is the CUDA compute capability, ``memory_gb`` the data sheet's GB (on Jetson shared with the CPU),
    ``bandwidth_gb_s`` memory bandwidth in GB/s, ``fp16_tflops`` peak dense TFLOP/s of fp16 products summed in
    fp32. They stand in ``source``, a document of the vendor's (a copy of it lies at ``url``), word for word but for
    the compute, which follows from it by ``derivation`` where there is one. The first of ``backends`` is the default.
    ``tensorrt`` is the release ``jetpack`` ships, or else the oldest that reads the portable graphs. ``python`` is
    JetPack's own; ``None``: any supported one. ``other_releases`` are those of JetPack that work as well.
    """

    name: str
    device: str
    sm: str | None
    memory_gb: float | None
    bandwidth_gb_s: float | None
    fp16_tflops: float | None
    backends: tuple[str, ...]
    source: str
    url: str | None
    derivation: str | None = None
    tensorrt: str | None = "10.13"
    jetpack: str | None = None
    python: str | None = None
    precisions: tuple[str, ...] = PRECISIONS
    other_releases: tuple[Release, ...] = ()

    @property
    def backend(self) -> str:
        """The default backend."""
        return self.backends[0]

    @property
    def sources(self) -> dict[str, str]:
        """Where each figure that is known comes from, by the name of its field."""
        figures = ("memory_gb", "bandwidth_gb_s", "fp16_tflops")
        cited = {name: f"{self.source}, {self.url}" for name in figures if getattr(self, name) is not None}
        if self.derivation is not None and "fp16_tflops" in cited:
            cited["fp16_tflops"] += f": {self.derivation}"
        return cited

    def opset(self, backend: str) -> int:
        """The newest ONNX opset, up to that of the portable graphs, that ``backend``, one of ``backends``, reads here.

        For ONNX Runtime, Orin gets :data:`OLD_OPSET`, so that one bundle runs under JetPack 6 and 7.
        """
        if backend == "onnxruntime":
            return OLD_OPSET if self.sm == "8.7" else PORTABLE_OPSET
        return PORTABLE_OPSET if self.tensorrt is None else min(PORTABLE_OPSET, max_opset(self.tensorrt))

    @property
    def builds_on(self) -> str:
        """``"anywhere"`` or ``"device"``: where the default backend's build must run."""
        return build_place(self.backend)


def build_place(backend: str) -> str:
    """``"device"`` for TensorRT, which tunes on the GPU it builds for; ``"anywhere"`` for the others."""
    return "device" if backend == "tensorrt" else "anywhere"


def max_opset(tensorrt: str) -> int:
    """The newest ONNX opset that TensorRT release ``tensorrt`` (such as ``"10.13.3"``) reads."""
    try:
        major, minor = (int(part) for part in tensorrt.split(".")[:2])
    except ValueError:
        raise TargetError(f"{tensorrt!r} is not a TensorRT version; expected one such as 10.13.3") from None
    readable = [opset for release, opset in _TENSORRT_OPSETS if release <= (major, minor)]
    if not readable:
        raise TargetError(f"TensorRT {tensorrt} is too old; version 10.0 or newer is needed")
    return readable[-1]


def onnxruntime_opset(version: str) -> int:
    """The newest ONNX opset, up to that of the portable graphs, that ONNX Runtime ``version`` reads."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return PORTABLE_OPSET if (major, minor) >= (1, 24) else OLD_OPSET


def get(name: str) -> Target:
    """The target called ``name``; :class:`TargetError` suggests the nearest name or lists them all."""
    try:
        return TARGETS[name]
    except KeyError:
        near = get_close_matches(name.lower(), TARGETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(TARGETS)}"
        raise TargetError(f"unknown target {name!r}: {hint}") from None


def check(target: Target, backend: str, precision: str) -> None:
    """Raise :class:`TargetError` unless ``target`` takes this backend and precision."""
    for kind, value, known in (("backend", backend, BACKENDS), ("precision", precision, PRECISIONS)):
        if value not in known:
            raise TargetError(f"unknown {kind} {value!r}: choose one of {', '.join(known)}")
    if backend not in target.backends:
        raise TargetError(
            f"backend {backend} does not run on {target.name} ({target.device}):"
            f" choose one of {', '.join(target.backends)}"
        )
    if backend == "onnxruntime" and precision == "bf16":
        raise TargetError(
            "precision bf16 does not run on backend onnxruntime, whose CPU provider has no bf16 MatMul:"
            f" choose fp32 or fp16{', or another backend' if len(target.backends) > 1 else ''}"
        )
    if precision not in target.precisions:
        raise TargetError(
            f"precision {precision} does not run on {target.name}: choose one of {', '.join(target.precisions)}"
        )


def check_selection(backend: str, schedule: Schedule) -> None:
    """Raise :class:`TargetError` if a stage keeps more tokens than ``backend`` can select."""
    most = max(schedule.keeps, default=0)
    if backend in COMPILED and most > MAX_TOPK:
        raise TargetError(
            f"a stage keeps {most} visual tokens, but {backend} selects {MAX_TOPK} at most; give a smaller --budget or "
            "--schedule, or --prune-at none, or take --backend onnxruntime"
        )


def check_integers(backend: str, quantization: Quantization) -> None:
    """Raise :class:`TargetError` for integer weights that ``backend`` does not multiply by: TensorRT takes those of 8
    bits by output and of 4 bits by block, and no zero points."""
    for part, scheme in quantization.schemes.items():
        if scheme.floating:
            if not takes_fp8(backend):
                raise TargetError(
                    f"the bundle's {part} is {scheme}, which {backend} does not multiply by here; build for it from "
                    "the checkpoint, which becomes floats"
                )
        elif backend in COMPILED and (scheme.zeros or (scheme.bits == 8 and scheme.block is not None)):
            raise TargetError(
                f"the checkpoint's {part} is {scheme}, but {backend} takes integers without zero points, of 8 bits "
                "with a scale for each output or of 4 bits in blocks; take --backend onnxruntime, or the checkpoint "
                "that it was quantised from, with --quantize int4"
            )


def takes_fp8(backend: str, sms: Sequence[str] = ()) -> bool:
    """Whether weights stay FP8 for ``backend`` on all compute capabilities ``sms``: products of FP8 came with 8.9."""
    return backend == "tensorrt-rtx" and all(tuple(map(int, sm.split("."))) >= (8, 9) for sm in sms)


def zeros_in_vain(
    target: Target, backend: str, sms: Sequence[str], sparsity: Sparsity, decoder: Scheme | None
) -> str | None:
    """Why a ``sparsity`` of the decoder's weights, which are rounded by the scheme ``decoder`` if any, buys nothing on
    ``target`` by ``backend`` for ``sms``; None where TensorRT may skip the zeros."""
    if backend not in COMPILED:
        return f"ONNX Runtime multiplies by zeros as by any number on {target.name}: neither time nor memory"
    if sparsity.pattern != (2, 4):
        return f"TensorRT skips zeros of the pattern 2:4 alone, not {sparsity.asked}: neither time nor memory"
    if any(float(sm) < SPARSE_SM for sm in sms):
        return f"SM {', '.join(sms)}: sparse products came with SM {SPARSE_SM}"
    if decoder is not None and decoder.bits == 4:
        return "weights of 4 bits become floats before their products, and no zero is skipped"
    return None


def check_memory(target: Target, weights: int, precision: str) -> None:
    """Raise :class:`TargetError` if ``weights`` bytes alone are more than ``target`` has; one that has room for them
    may still lack it for the rest."""
    # modules are sold in powers of two, so a data sheet's GB is read as the larger GiB: what is refused cannot work
    if target.memory_gb is not None and weights > target.memory_gb * 2**30:
        raise TargetError(
            f"the weights take {weights / 1e9:.1f} GB in {precision}, more than the {target.memory_gb:g} GB of"
            f" {target.name} ({target.device}): choose another target, a smaller checkpoint"
            f"{', or --precision fp16' if precision == 'fp32' else ''}"
        )


@dataclass(frozen=True)
class _Document:
    """A data sheet or white paper, and where a copy of it can be read."""

    title: str
    url: str


_AGX_ORIN = _Document(
    "NVIDIA Jetson AGX Orin Series data sheet DS-10662-001 v1.8",
    "https://static.generation-robots.com/media/Jetson-AGX-Orin-Data-Sheet.pdf",
)
_ORIN_NX = _Document(
    "NVIDIA Jetson Orin NX Series data sheet DS-10712-001 v1.7",
    "https://developer.nvidia.com/downloads/jetson-orin-nx-module-series-data-sheet",
)
_ORIN_NANO = _Document(
    "NVIDIA Jetson Orin Nano Super Developer Kit specifications",
    "https://www.nvidia.com/en-us/autonomous-machines/embedded-systems/jetson-orin/nano-super-developer-kit/",
)
_THOR = _Document(
    "NVIDIA Jetson Thor specifications (T5000)",
    "https://www.nvidia.com/en-us/autonomous-machines/embedded-systems/jetson-thor/",
)
_A100 = _Document(
    "NVIDIA A100 Tensor Core GPU datasheet",
    "https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/"
    "nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf",
)
_H100 = _Document("NVIDIA H100 Tensor Core GPU specifications", "https://www.nvidia.com/en-us/data-center/h100/")
_H200 = _Document("NVIDIA H200 Tensor Core GPU specifications", "https://www.nvidia.com/en-us/data-center/h200/")
_L4 = _Document("NVIDIA L4 Tensor Core GPU specifications", "https://www.nvidia.com/en-us/data-center/l4/")
_L40S = _Document("NVIDIA L40S GPU specifications", "https://www.nvidia.com/en-us/data-center/l40s/")
_GA102 = _Document(
    "NVIDIA Ampere GA102 GPU Architecture whitepaper",
    "https://www.nvidia.com/content/PDF/nvidia-ampere-ga-102-gpu-architecture-whitepaper-v2.1.pdf",
)
_ADA = _Document(
    "NVIDIA Ada GPU Architecture whitepaper",
    "https://images.nvidia.com/aem-dam/Solutions/Data-Center/l4/nvidia-ada-gpu-architecture-whitepaper-v2.1.pdf",
)
_BLACKWELL = _Document(
    "NVIDIA RTX Blackwell GPU Architecture whitepaper",
    "https://images.nvidia.com/aem-dam/Solutions/geforce/blackwell/nvidia-rtx-blackwell-gpu-architecture.pdf",
)


def _orin(
    name: str,
    device: str,
    memory_gb: float,
    bandwidth_gb_s: float,
    sparse_int8_tops: float,
    document: _Document,
    tops: str,
) -> Target:
    """An Orin module; JetPack 6 brings TensorRT 10.3, which reads opset 20 at most.

    ``tops`` says in words what ``sparse_int8_tops``, those of the GPU alone, are.
    """
    figures = (memory_gb, bandwidth_gb_s, sparse_int8_tops / 4)
    source = (document.title, document.url, f"a quarter of {tops}")
    return Target(
        name, device, "8.7", *figures, _TENSORRT_ONLY, *source, "10.16", "7.2", "3.12",
        other_releases=(_JETPACK_6, _JETPACK_7_LATER),
    )  # fmt: skip


def _gpu(
    name: str,
    device: str,
    sm: str,
    memory_gb: float,
    bandwidth_gb_s: float,
    fp16_tflops: float,
    backends: tuple[str, ...],
    document: _Document,
    derivation: str | None = None,
) -> Target:
    """A GPU with a memory of its own."""
    figures = (memory_gb, bandwidth_gb_s, fp16_tflops)
    return Target(name, device, sm, *figures, backends, document.title, document.url, derivation)


# fmt: off
_ROWS = (
    _orin("orin-agx-64", "Jetson AGX Orin 64GB", 64, 204.8, 170, _AGX_ORIN, "the GPU's 170 sparse INT8 TOPS"),
    _orin("orin-agx-32", "Jetson AGX Orin 32GB", 32, 204.8, 108, _AGX_ORIN, "the GPU's 108 sparse INT8 TOPS"),
    _orin("orin-nx-16", "Jetson Orin NX 16GB (Super mode)", 16, 102, 77, _ORIN_NX,
          "the 77 sparse INT8 TOPS that its two DLAs leave to the GPU in MAXN_SUPER: 157 - 80"),
    _orin("orin-nano-8", "Jetson Orin Nano 8GB (Super mode)", 8, 102, 67, _ORIN_NANO, "its 67 sparse INT8 TOPS"),
    Target("thor", "Jetson AGX Thor T5000", "11.0", 128, 273, 258.75, _TENSORRT_ONLY, _THOR.title, _THOR.url,
           "an eighth of its 2070 sparse FP4 TFLOPS", tensorrt="10.13.3", jetpack="7.1", python="3.12",
           other_releases=(_JETPACK_7_LATER,)),
    _gpu("a100", "A100 80GB SXM", "8.0", 80, 2039, 312, _TENSORRT_FIRST, _A100),
    _gpu("h100", "H100 80GB SXM", "9.0", 80, 3350, 989.5, _TENSORRT_ONLY, _H100, "half of its 1979 sparse TFLOPS"),
    _gpu("h200", "H200 141GB SXM", "9.0", 141, 4800, 989.5, _TENSORRT_ONLY, _H200, "half of its 1979 sparse TFLOPS"),
    _gpu("l4", "L4 24GB", "8.9", 24, 300, 121, _TENSORRT_FIRST, _L4, "half of its 242 sparse TFLOPS"),
    _gpu("l40s", "L40S 48GB", "8.9", 48, 864, 362.05, _TENSORRT_FIRST, _L40S),
    _gpu("rtx3090", "GeForce RTX 3090", "8.6", 24, 936, 71, _RTX_FIRST, _GA102),
    _gpu("rtx4090", "GeForce RTX 4090", "8.9", 24, 1008, 165.2, _RTX_FIRST, _ADA),
    _gpu("rtx5090", "GeForce RTX 5090", "12.0", 32, 1792, 209.5, _RTX_FIRST, _BLACKWELL),
    Target("cpu", "any CPU that ONNX Runtime runs on", None, None, None, None, ("onnxruntime",),
           "the machine itself", None, tensorrt=None, precisions=("fp32", "fp16")),
)
# fmt: on

TARGETS: Mapping[str, Target] = MappingProxyType({row.name: row for row in _ROWS})
