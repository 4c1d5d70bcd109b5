"""Plans of the two operators, ``PIVOT_SELECT`` and ``SPHERICAL_KMEANS`` of :mod:`clasp_trt.operators`.

Each is written once, as a recipe for any numbers of tokens; the plan of a shape is what the recipe comes to there.
"""

from __future__ import annotations

from clasp_trt.ops import ITERATIONS
from clasp_trt.plugins.launch.plan import LaunchError, Plan, Tensor, TensorSpec, Workspace
from clasp_trt.plugins.launch.recipe import Recipe, Sheet

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
    tensors = (
        TensorSpec("saliency", "float32", (batch, tokens), is_output=False),
        TensorSpec("pivot_count", "int64", (batch,), is_output=False),
        TensorSpec("pivots", "bool", (batch, tokens), is_output=True),
    )
    return _plan(pivot_select_recipe(batch), tensors, tokens, keep)


def pivot_select_recipe(batch: int) -> Recipe:
    """:func:`pivot_select` of ``batch`` rows of any 1 to :data:`MAX_TOKENS` tokens."""
    sheet = Sheet()
    tokens, sizes = sheet.tokens, (sheet.int32(batch), sheet.int32(sheet.tokens), sheet.int32(sheet.keep))
    tiles = tokens.over(_WARP) * batch
    named = (Tensor("saliency"), Tensor("pivot_count"), Tensor("pivots"))
    sheet.launch("clasp_pivot_select", tiles, _BLOCK, 4 * tokens, (*named, *sizes))
    return sheet.recipe()


def spherical_kmeans(batch: int, tokens: int, keep: int, iterations: int = ITERATIONS) -> Plan:
    """``gram`` float32 ``[batch, tokens, tokens]`` and ``pivots`` bool ``[batch, tokens]`` to the kept tokens.

    Outputs are ``kept`` int64 and ``is_pivot`` bool, both ``[batch, min(keep, tokens)]``. A row with more than
    ``keep`` marks, which the host refuses, keeps the first ``keep`` of them.
    """
    _check(batch, tokens, keep)
    places = min(keep, tokens)
    tensors = (
        TensorSpec("gram", "float32", (batch, tokens, tokens), is_output=False),
        TensorSpec("pivots", "bool", (batch, tokens), is_output=False),
        TensorSpec("kept", "int64", (batch, places), is_output=True),
        TensorSpec("is_pivot", "bool", (batch, places), is_output=True),
    )
    return _plan(spherical_kmeans_recipe(batch, iterations), tensors, tokens, keep)


def spherical_kmeans_recipe(batch: int, iterations: int = ITERATIONS) -> Recipe:
    """:func:`spherical_kmeans` of ``batch`` rows of any 1 to :data:`MAX_TOKENS` tokens."""
    if iterations < 1:
        raise LaunchError(f"iterations is {iterations}, expected at least 1")
    sheet = Sheet()
    tokens, keep = sheet.tokens, sheet.keep
    gram, pivots, kept, is_pivot = map(Tensor, ("gram", "pivots", "kept", "is_pivot"))
    chooses = keep.below(tokens)
    keeps_all = chooses.below(1)

    everything = (tokens * batch).over(_BLOCK) * keeps_all
    sizes = (sheet.int32(batch), sheet.int32(tokens), sheet.int32(keep))
    sheet.launch("clasp_keep_all", everything, _BLOCK, 0, (pivots, kept, is_pivot, *sizes[:2]))

    planes = tokens.over(MAX_PLANE_TOKENS)
    keys, ranked, owner = (sheet.take(4 * batch * tokens) for _ in range(3))
    clusters = sheet.take(sheet.number(4 * batch))
    lengths = tuple(sheet.take(8 * batch * keep) for _ in range(2))  # of this iteration and of the next
    sums = sheet.take(4 * batch * planes * keep * tokens)
    split = (*sizes, sheet.int32(planes))

    tiles = tokens.over(_WARP) * batch * chooses
    sheet.launch("clasp_redundancy", tiles, _BLOCK, 0, (gram, pivots, keys, *sizes[:2]))
    sheet.launch("clasp_seed_rank", tiles, _BLOCK, 4 * tokens, (keys, ranked, clusters, *sizes))
    for iteration in range(iterations):
        now, later = lengths[iteration % 2], lengths[(iteration + 1) % 2]
        state = (clusters, sums, now, later, *split)
        assign = "clasp_assign" if iteration else "clasp_assign_to_seeds"
        sheet.launch(assign, tiles, _BLOCK, 4 * keep, (gram, pivots, ranked, owner, *state))
        sheet.launch("clasp_update", tiles * planes * keep.over(_CHUNK), _BLOCK, 0, (gram, owner, *state))
    final = (clusters, sums, lengths[iterations % 2])
    shared = _FINISH_SHARED * keep + tokens
    sheet.launch(
        "clasp_medoids", batch * chooses, _BLOCK, shared, (pivots, ranked, owner, *final, kept, is_pivot, *split)
    )
    return sheet.recipe()


def _plan(recipe: Recipe, tensors: tuple[TensorSpec, ...], tokens: int, keep: int) -> Plan:
    workspace, launches = recipe.at(tokens, keep)
    uses = any(isinstance(argument, Workspace) for launch in launches for argument in launch.arguments)
    return Plan(tensors, workspace if uses else 0, launches)


def _check(batch: int, tokens: int, keep: int) -> None:
    if batch < 1 or not 1 <= tokens <= MAX_TOKENS or keep < 1:
        raise LaunchError(
            f"batch {batch}, {tokens} tokens, keep {keep}: the kernels take at least 1 of each and at most "
            f"{MAX_TOKENS} tokens; run the operator's ONNX body instead"
        )
