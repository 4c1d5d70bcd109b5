"""Plan of the cosine Gram matrix, :func:`clasp_trt.ops.token_gram`."""

from __future__ import annotations

from clasp_trt.plugins.launch.plan import Int32, Launch, LaunchError, Plan, Tensor, TensorSpec, WorkspaceLayout
from clasp_trt.plugins.launch.selection import MAX_TOKENS

MAX_WIDTH = 8192
_SUFFIX = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
_WANTED_BLOCKS = 256  # enough to occupy a datacenter GPU when the matrix has few tiles
_SLAB_BYTES = 64  # of a token's row, read per step; kSlabBytes of the kernels
_MIN_SLABS = 8  # per split: below that, adding up splits costs more than it saves
_WARPS = 8  # of a block that scales tokens, one per warp at a time
_LARGE = 1536  # tokens from which tiles of 128 fill the device


def token_gram(batch: int, tokens: int, width: int, dtype: str) -> Plan:
    """``visual`` of ``dtype`` (float16, bfloat16, float32) ``[batch, tokens, width]`` to ``gram`` float32.

    The result is what the contract of :func:`clasp_trt.ops.token_gram` says, summed in float32.
    """
    if dtype not in _SUFFIX:
        raise LaunchError(f"tokens of type {dtype}, expected one of {', '.join(_SUFFIX)}")
    if batch < 1 or not 1 <= tokens <= MAX_TOKENS or not 1 <= width <= MAX_WIDTH:
        raise LaunchError(
            f"tokens [{batch}, {tokens}, {width}]: the kernels take at least 1 of each, at most {MAX_TOKENS} tokens "
            f"and a width of {MAX_WIDTH}; compute the Gram matrix by its ONNX graph instead"
        )
    suffix = _SUFFIX[dtype]
    tile = 128 if tokens >= _LARGE and dtype != "float32" else 64
    side = -(-tokens // tile)
    tiles = side * (side + 1) // 2
    item = 4 if dtype == "float32" else 2
    slabs = -(-width * item // _SLAB_BYTES)
    splits = max(1, min(-(-_WANTED_BLOCKS // (batch * tiles)), slabs // _MIN_SLABS))

    layout = WorkspaceLayout()
    scales = layout.take(4 * batch * tokens)
    partial = layout.take(4 * batch * splits * tiles * tile * tile)
    visual, gram = Tensor("visual"), Tensor("gram")
    shape = (Int32(batch), Int32(tokens))
    launches = [
        Launch(
            f"clasp_gram_tile{tile}_{suffix}", (batch * tiles * splits, 1, 1), (tile * tile // 32, 1, 1), 0,
            (visual, scales, partial, *shape, Int32(width), Int32(splits)),
        ),
        Launch(
            "clasp_gram_finish", (batch * tiles * (tile // 32) ** 2, 1, 1), (256, 1, 1), 0,
            (partial, gram, *shape, Int32(splits), Int32(tile)),
        ),
    ]  # fmt: skip
    if dtype != "float16":  # squares of halves stay well inside of float32's range
        grid = (-(-batch * tokens // _WARPS), 1, 1)
        scale = Launch(
            f"clasp_row_scale_{suffix}", grid, (32 * _WARPS, 1, 1), 0, (visual, scales, *shape, Int32(width))
        )
        launches.insert(0, scale)
    tensors = (
        TensorSpec("visual", dtype, (batch, tokens, width), is_output=False),
        TensorSpec("gram", "float32", (batch, tokens, tokens), is_output=True),
    )
    return Plan(tensors, layout.size_bytes, tuple(launches))
