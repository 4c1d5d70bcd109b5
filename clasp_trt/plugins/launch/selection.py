"""Plans of the two operators, ``PIVOT_SELECT`` and ``SPHERICAL_KMEANS`` of :mod:`clasp_trt.operators`."""

from __future__ import annotations

from clasp_trt.ops import ITERATIONS
from clasp_trt.plugins.launch.plan import Int32, Launch, LaunchError, Plan, Tensor, TensorSpec, WorkspaceLayout

MAX_TOKENS = 4096
"""Most tokens that one selection of the kernels chooses from."""
MAX_PLANE_TOKENS = 2047
"""Similarities in steps of 2**-20 whose sum always fits an int32; longer sums are split over planes."""

_WARP, _BLOCK = 32, 1024  # a block serves 32 columns with 32 warps, or one token per warp
_CHUNK = 64  # clusters whose sums one block gathers in shared memory; kClusterChunk of the kernels
_FINISH_SHARED = 8  # bytes per cluster of the last kernel, beside one per token


def pivot_select(batch: int, tokens: int, keep: int) -> Plan:
    """``saliency`` float32 ``[batch, tokens]`` and ``pivot_count`` int64 ``[batch]`` to ``pivots`` bool.

    The count is read on the device. One out of range is taken as the nearest of 0 and ``keep``; the host refuses it.
    """
    _check(batch, tokens, keep)
    launch = Launch(
        kernel="clasp_pivot_select",
        grid=(batch * _ceil(tokens, _WARP), 1, 1),
        block=(_BLOCK, 1, 1),
        shared_bytes=4 * tokens,
        arguments=(
            Tensor("saliency"), Tensor("pivot_count"), Tensor("pivots"), Int32(batch), Int32(tokens), Int32(keep),
        ),
    )  # fmt: skip
    tensors = (
        TensorSpec("saliency", "float32", (batch, tokens), is_output=False),
        TensorSpec("pivot_count", "int64", (batch,), is_output=False),
        TensorSpec("pivots", "bool", (batch, tokens), is_output=True),
    )
    return Plan(tensors, 0, (launch,))


def spherical_kmeans(batch: int, tokens: int, keep: int, iterations: int = ITERATIONS) -> Plan:
    """``gram`` float32 ``[batch, tokens, tokens]`` and ``pivots`` bool ``[batch, tokens]`` to the kept tokens.

    Outputs are ``kept`` int64 and ``is_pivot`` bool, both ``[batch, min(keep, tokens)]``. A row with more than
    ``keep`` marks, which the host refuses, keeps the first ``keep`` of them.
    """
    _check(batch, tokens, keep)
    if iterations < 1:
        raise LaunchError(f"iterations is {iterations}, expected at least 1")
    places = min(keep, tokens)
    tensors = (
        TensorSpec("gram", "float32", (batch, tokens, tokens), is_output=False),
        TensorSpec("pivots", "bool", (batch, tokens), is_output=False),
        TensorSpec("kept", "int64", (batch, places), is_output=True),
        TensorSpec("is_pivot", "bool", (batch, places), is_output=True),
    )
    gram, pivots, kept, is_pivot = (Tensor(spec.name) for spec in tensors)
    if keep >= tokens:
        everything = Launch(
            kernel="clasp_keep_all",
            grid=(_ceil(batch * tokens, _BLOCK), 1, 1),
            block=(_BLOCK, 1, 1),
            shared_bytes=0,
            arguments=(pivots, kept, is_pivot, Int32(batch), Int32(tokens)),
        )
        return Plan(tensors, 0, (everything,))

    planes = _ceil(tokens, MAX_PLANE_TOKENS)
    layout = WorkspaceLayout()
    keys, ranked, owner = (layout.take(4 * batch * tokens) for _ in range(3))
    clusters = layout.take(4 * batch)
    lengths = (layout.take(8 * batch * keep), layout.take(8 * batch * keep))  # of this iteration and of the next
    sums = layout.take(4 * batch * planes * keep * tokens)
    shape = (Int32(batch), Int32(tokens), Int32(keep))

    tiles = batch * _ceil(tokens, _WARP)
    block = (_BLOCK, 1, 1)
    launches = [
        Launch("clasp_redundancy", (tiles, 1, 1), block, 0, (gram, pivots, keys, *shape[:2])),
        Launch("clasp_seed_rank", (tiles, 1, 1), block, 4 * tokens, (keys, ranked, clusters, *shape)),
    ]
    for iteration in range(iterations):
        now, later = lengths[iteration % 2], lengths[(iteration + 1) % 2]
        state = (clusters, sums, now, later, *shape, Int32(planes))
        assign = "clasp_assign" if iteration else "clasp_assign_to_seeds"
        launches += [
            Launch(assign, (tiles, 1, 1), block, 4 * keep, (gram, pivots, ranked, owner, *state)),
            Launch("clasp_update", (tiles * planes * _ceil(keep, _CHUNK), 1, 1), block, 0, (gram, owner, *state)),
        ]
    final = lengths[iterations % 2]
    launches.append(
        Launch(
            kernel="clasp_medoids",
            grid=(batch, 1, 1),
            block=block,
            shared_bytes=_FINISH_SHARED * keep + tokens,
            arguments=(pivots, ranked, owner, clusters, sums, final, kept, is_pivot, *shape, Int32(planes)),
        )
    )
    return Plan(tensors, layout.size_bytes, tuple(launches))


def _check(batch: int, tokens: int, keep: int) -> None:
    if batch < 1 or not 1 <= tokens <= MAX_TOKENS or keep < 1:
        raise LaunchError(
            f"batch {batch}, {tokens} tokens, keep {keep}: the kernels take at least 1 of each and at most "
            f"{MAX_TOKENS} tokens; run the operator's ONNX body instead"
        )


def _ceil(count: int, size: int) -> int:
    return -(-count // size)
