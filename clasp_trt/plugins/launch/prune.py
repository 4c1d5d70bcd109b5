"""Plans of what follows a selection: the kept rows of a sequence, and the Gram matrix of the kept tokens."""

from __future__ import annotations

from clasp_trt.plugins.launch.plan import ITEM_BYTES, Int32, Launch, LaunchError, Plan, Tensor, TensorSpec
from clasp_trt.plugins.launch.selection import MAX_TOKENS


def prune_rows(sequence: int, tokens: int, keep: int, references: int, width: int, dtype: str) -> Plan:
    """Drops the visual rows that were not kept, as the graph of
    :func:`clasp_trt.export.pruning.prune.prune_graph` does.

    Inputs: ``hidden`` ``dtype[1, sequence, width]``, ``position_ids`` int64 ``[1, sequence]``, ``visual_index`` int64
    ``[tokens]`` ascending, ``kept`` int64 ``[1, keep]`` ascending, ``reference_index`` int64 ``[references]``.
    Outputs: ``hidden_out`` and ``position_ids_out`` of ``sequence - tokens + keep`` rows, and the new rows of the
    kept tokens and of the references, ``visual_index_out`` and ``reference_index_out``. Without references
    (``references`` 0) their two tensors may be bound to any address.
    """
    if not 1 <= keep <= tokens <= min(sequence, MAX_TOKENS) or references < 0 or width < 1:
        raise LaunchError(
            f"keep {keep} of {tokens} tokens in {sequence} rows of {width}: expected keep <= tokens <= rows, and at "
            f"most {MAX_TOKENS} tokens"
        )
    if dtype not in ("float16", "bfloat16", "float32"):
        raise LaunchError(f"hidden states of type {dtype}, expected float16, bfloat16 or float32")
    rows = sequence - tokens + keep
    tensors = (
        TensorSpec("hidden", dtype, (1, sequence, width), is_output=False),
        TensorSpec("position_ids", "int64", (1, sequence), is_output=False),
        TensorSpec("visual_index", "int64", (tokens,), is_output=False),
        TensorSpec("kept", "int64", (1, keep), is_output=False),
        TensorSpec("reference_index", "int64", (references,), is_output=False),
        TensorSpec("hidden_out", dtype, (1, rows, width), is_output=True),
        TensorSpec("position_ids_out", "int64", (1, rows), is_output=True),
        TensorSpec("visual_index_out", "int64", (keep,), is_output=True),
        TensorSpec("reference_index_out", "int64", (references,), is_output=True),
    )
    sizes = (sequence, tokens, keep, references, width * ITEM_BYTES[dtype])
    launch = Launch(
        kernel="clasp_prune_rows",
        grid=(-(-sequence // 8), 1, 1),
        block=(256, 1, 1),
        shared_bytes=4 * (tokens + keep),
        arguments=(*(Tensor(spec.name) for spec in tensors), *(Int32(size) for size in sizes)),
    )
    return Plan(tensors, 0, (launch,))


def narrow_gram(batch: int, tokens: int, keep: int) -> Plan:
    """``gram`` float32 ``[batch, tokens, tokens]`` and ``kept`` int64 ``[batch, keep]`` to ``gram_out``."""
    if batch < 1 or not 1 <= keep <= tokens <= MAX_TOKENS:
        raise LaunchError(f"keep {keep} of {tokens} tokens: expected keep <= tokens, and at most {MAX_TOKENS} tokens")
    tensors = (
        TensorSpec("gram", "float32", (batch, tokens, tokens), is_output=False),
        TensorSpec("kept", "int64", (batch, keep), is_output=False),
        TensorSpec("gram_out", "float32", (batch, keep, keep), is_output=True),
    )
    launch = Launch(
        kernel="clasp_narrow_gram",
        grid=(batch * keep, 1, 1),
        block=(256, 1, 1),
        shared_bytes=0,
        arguments=(*(Tensor(spec.name) for spec in tensors), Int32(batch), Int32(tokens), Int32(keep)),
    )
    return Plan(tensors, 0, (launch,))
