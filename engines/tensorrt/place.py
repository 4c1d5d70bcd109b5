"""What can be built where the user stands; said before any work, with the command for where it can."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from clasp_trt.bundle import Graph
from clasp_trt.chain import port
from clasp_trt.engines.tensorrt.device import compute_capability
from clasp_trt.engines.tensorrt.library import KNOWS_PORTABLE, RTX_SMS, TURING, Library, load
from clasp_trt.errors import BackendError, QuantizationError, TargetError
from clasp_trt.quantization import INT4_OPSET, Quantization
from clasp_trt.targets import Target, build_place


def check_precision(sms: Sequence[str], precision: str) -> None:
    """Raises :class:`TargetError` if the library does not compile graphs of ``precision`` for one of ``sms``."""
    if TURING in sms and precision != "fp16":
        raise TargetError(
            f"--sm {TURING} takes --precision fp16 alone, not {precision}: it has no such matrix products"
        )


def check_quantization(library: Library, sms: Sequence[str], quantization: Quantization) -> None:
    """Raises :class:`QuantizationError` if ``library`` has no integers of as few bits, or does not compile them for one
    of ``sms``; 8-bit ones are known to all."""
    if not quantization.has_int4:
        return
    other = "round to 8 bits, --quantize int8"
    if TURING in sms:
        raise QuantizationError(f"--quantize int4: --sm {TURING} has no 4-bit weights, --sm 8.0 and later do; {other}")
    if library.opset < INT4_OPSET:
        least = ".".join(map(str, KNOWS_PORTABLE))
        raise QuantizationError(
            f"--quantize int4: {library.backend} {library.version} gets graphs of opset {library.opset}, and 4-bit "
            f"weights came with {INT4_OPSET}; take TensorRT {least} or later (JetPack 7.2), or {other}"
        )


def check_graph(sms: Sequence[str], graph: Graph) -> None:
    """Raises :class:`BackendError` for a graph of which TensorRT for RTX 1.7 dies: several layers before a prune, for
    :data:`TURING`, in the form without float32 products."""
    layers = port.layers(each.name for each in graph.inputs)
    if TURING in sms and layers > 1 and any(each.name == port.SALIENCY for each in graph.outputs):
        raise BackendError(
            f"--sm {TURING}: TensorRT for RTX dies of {graph.name}, {layers} decoder layers before a prune; build from "
            "the checkpoint, which cuts the last of them off, or export with --prune-at encoder"
        )


def check(target: Target, backend: str, sms: Sequence[str], model: str, *, is_bundle: bool) -> Library:
    """The library that builds ``model`` here for the compute capabilities ``sms``.

    Raises :class:`TargetError` for capabilities that the backend does not build for, and :class:`BackendError` if the
    GPU that it needs or the library is not here.
    """
    if build_place(backend) == "anywhere":
        for sm in sms:
            if sm not in RTX_SMS:
                raise TargetError(f"--sm {sm}: {backend} compiles for {', '.join(RTX_SMS)}")
        return load(backend)
    if tuple(sms) != (target.sm,):
        raise TargetError(
            f"--sm is for tensorrt-rtx: backend {backend} builds for the GPU that it runs on, {target.sm}"
        )
    here = compute_capability()
    if here == target.sm:
        return load(backend)
    found = "this machine has no CUDA GPU" if here is None else f"the GPU of this machine is SM {here}"
    source = shlex.quote(model)
    if is_bundle:
        way = f"copy the bundle to the device and run there: clasp-trt build {source} -o OUT --target {target.name}"
    else:
        way = (
            f"run `clasp-trt export {source} -o PORTABLE` here, copy PORTABLE to the device and run there: "
            f"clasp-trt build PORTABLE -o OUT --target {target.name}"
        )
    if backend != target.backend:
        way += f" --backend {backend}"
    others = [other for other in target.backends if build_place(other) == "anywhere"]
    raise BackendError(
        f"backend {backend} builds on the device itself ({target.name}: SM {target.sm}), but {found}; {way}; "
        f"or add --backend {' or '.join(others)} to run on {target.name} with what builds anywhere"
    )
