"""Plans of the saliency: attention received, averaged over heads and reference rows (Eqs. 4, 32-33)."""

from __future__ import annotations

from clasp_trt.plugins.launch.plan import Int32, Launch, LaunchError, Plan, Tensor, TensorSpec, WorkspaceLayout

_SUFFIX = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
_ROWS_PER_PART = 128  # rows that one block adds up


def saliency(batch: int, heads: int, rows: int, tokens: int, dtype: str) -> Plan:
    """``attention`` of ``dtype`` ``[batch, heads, rows, tokens]`` to ``saliency`` float32 ``[batch, tokens]``.

    ``attention`` holds the softmax weights of the reference rows in the columns of the visual tokens. Sums run in
    float32 in one order, whatever the number of blocks, so results do not vary from run to run.
    """
    if dtype not in _SUFFIX:
        raise LaunchError(f"attention of type {dtype}, expected one of {', '.join(_SUFFIX)}")
    if min(batch, heads, rows, tokens) < 1:
        raise LaunchError(f"attention [{batch}, {heads}, {rows}, {tokens}], expected at least 1 of each")
    total = heads * rows
    parts = -(-total // _ROWS_PER_PART)
    tiles = batch * -(-tokens // 32)
    layout = WorkspaceLayout()
    partial = layout.take(4 * batch * parts * tokens)
    tensors = (
        TensorSpec("attention", dtype, (batch, heads, rows, tokens), is_output=False),
        TensorSpec("saliency", "float32", (batch, tokens), is_output=True),
    )
    block = (1024, 1, 1)
    launches = (
        Launch(
            f"clasp_column_sum_{_SUFFIX[dtype]}", (tiles * parts, 1, 1), block, 0,
            (Tensor("attention"), partial, Int32(batch), Int32(total), Int32(tokens), Int32(parts), Int32(1)),
        ),
        Launch(
            "clasp_column_sum_fp32", (tiles, 1, 1), block, 0,
            (partial, Tensor("saliency"), Int32(batch), Int32(parts), Int32(tokens), Int32(1), Int32(total)),
        ),
    )  # fmt: skip
    return Plan(tensors, layout.size_bytes, launches)


def attention_saliency(
    heads: int, key_heads: int, head_size: int, sequence: int, capacity: int, references: int, tokens: int, dtype: str
) -> Plan:
    """Saliency from queries and keys of one request, as the decoder segments compute it.

    Inputs, after rotary embedding: ``query`` ``dtype[1, heads, sequence, head_size]`` and ``key``, the cache,
    ``dtype[1, key_heads, capacity, head_size]``; ``reference_index`` int64 ``[references]``, rows of the sequence;
    ``visual_index`` int64 ``[tokens]``, slots of the cache; ``write_index`` int64 ``[1]``, the slot of the first row.
    A row sees the slots up to its own. Output: ``saliency`` float32 ``[1, tokens]``. An index out of range is taken as
    the nearest legal one.
    """
    if dtype not in _SUFFIX:
        raise LaunchError(f"queries of type {dtype}, expected one of {', '.join(_SUFFIX)}")
    sizes = (heads, key_heads, head_size, sequence, capacity, references, tokens)
    if min(sizes) < 1 or heads % key_heads or sequence > capacity:
        raise LaunchError(
            f"{heads} heads over {key_heads} key heads of {head_size}, {sequence} rows in {capacity} slots, "
            f"{references} references, {tokens} tokens: expected at least 1 of each, whole groups of heads, and a slot "
            "for each row"
        )
    rows = heads * references
    parts = -(-rows // _ROWS_PER_PART)
    column_tiles, score_tiles = -(-tokens // 32), -(-(rows // key_heads) // 64) * -(-sequence // 64)
    layout = WorkspaceLayout()
    scores, softmax = layout.take(4 * rows * capacity), layout.take(8 * rows)
    partial = layout.take(4 * parts * tokens)
    tensors = (
        TensorSpec("query", dtype, (1, heads, sequence, head_size), is_output=False),
        TensorSpec("key", dtype, (1, key_heads, capacity, head_size), is_output=False),
        TensorSpec("reference_index", "int64", (references,), is_output=False),
        TensorSpec("visual_index", "int64", (tokens,), is_output=False),
        TensorSpec("write_index", "int64", (1,), is_output=False),
        TensorSpec("saliency", "float32", (1, tokens), is_output=True),
    )
    query, key, reference_index, visual_index, write_index, result = (Tensor(spec.name) for spec in tensors)
    launches = (
        Launch(
            f"clasp_reference_scores_{_SUFFIX[dtype]}", (key_heads * score_tiles, 1, 1), (128, 1, 1), 0,
            (query, key, reference_index, write_index, scores, *(Int32(size) for size in sizes[:-1])),
        ),
        Launch(
            "clasp_reference_softmax", (-(-rows // 8), 1, 1), (256, 1, 1), 0,
            (
                scores, reference_index, write_index, softmax, Int32(rows), Int32(sequence), Int32(capacity),
                Int32(references),
            ),
        ),
        Launch(
            "clasp_reference_weights", (column_tiles * parts, 1, 1), (1024, 1, 1), 0,
            (
                scores, softmax, reference_index, visual_index, write_index, partial, Int32(rows), Int32(tokens),
                Int32(sequence), Int32(capacity), Int32(references), Int32(parts),
            ),
        ),
        Launch(
            "clasp_column_sum_fp32", (column_tiles, 1, 1), (1024, 1, 1), 0,
            (partial, result, Int32(1), Int32(parts), Int32(tokens), Int32(1), Int32(rows)),
        ),
    )  # fmt: skip
    return Plan(tensors, layout.size_bytes, launches)
