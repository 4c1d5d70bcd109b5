"""The ports of the graphs before the decoder, towers and projectors; see :mod:`clasp_trt.chain.ports`."""

from __future__ import annotations

from clasp_trt.chain import port
from clasp_trt.chain.ports import Port, Ports
from clasp_trt.thinning import Thinning


def square_vision(
    side: int,
    layers: int,
    tokens: int,
    width: int,
    block: int,
    dtype: str,
    *,
    has_cls: bool = True,
    keeps_cls: bool = False,
    thinning: Thinning | None = None,
) -> Ports:
    """Pictures of ``side`` pixels to ``tokens`` patches of ``width`` in ``layers`` layers, and what [CLS] attends to in
    ``block``, or in a tower without one all patches together. With ``keeps_cls`` the first of the tokens is [CLS].
    A ``thinning`` leaves some of these patches, and tells which, and what it chose them by."""
    tokens = tokens if thinning is None else thinning.keep
    read = (port.BATCH, layers, tokens, width)
    attending, dropped = ("[CLS]", ", [CLS] dropped") if has_cls else ("all patches", "")
    attended = f"attention of {attending} to each patch in block {block}"
    if keeps_cls:
        dropped, attended = ", [CLS] before them", f"0 for [CLS], and its attention to each patch in block {block}"
    return Ports(
        (Port(port.PIXEL_VALUES, "float32", (port.BATCH, 3, side, side), "preprocessed images"),),
        (
            Port(port.FEATURES, dtype, read, f"patch states of the support layers{dropped}"),
            Port(port.CLS_SALIENCY, "float32", (port.BATCH, tokens), attended),
            *(() if thinning is None else thinned(thinning, attending)),
        ),
    )


def thinned(thinning: Thinning, attending: str = "[CLS]") -> tuple[Port, Port]:
    """What a tower that drops patches gives besides the states of those that stay."""
    chosen = (
        f"attention of {attending} to each patch in block {thinning.after_block}, after which the most salient stay"
    )
    return (
        Port(port.KEPT, "int64", (port.BATCH, thinning.keep), "patches that stay, ascending"),
        Port(port.PATCH_SALIENCY, "float32", (port.BATCH, thinning.of), chosen),
    )


TAPS = 4
"""Entries of a learned position table that the position of a patch is mixed of, and rows of a tile that a token is."""


def grid_inputs(patch: int, window: int | None, table: int | None) -> tuple[Port, ...]:
    """What a tower takes of patches of ``patch`` numbers each: ``window`` and ``table`` are as a processor of kind
    ``grid`` has them."""
    taken = [
        Port(port.PATCHES, "float32", (port.FRAMES, port.PATCHES, patch), "preprocessed patches"),
        Port(port.POSITIONS, "int64", (2, port.PATCHES), "row and column of each patch in its frame"),
    ]
    if window is not None:
        taken += [
            Port(port.WINDOW_ROWS, "int64", (port.WINDOW_SLOTS,), "patch in each slot of all windows; 0 if empty"),
            Port(port.WINDOW_VALID, "bool", (port.WINDOWS, window**2), "slots that hold a patch"),
            Port(port.ROW_SLOTS, "int64", (port.PATCHES,), "slot of each patch"),
        ]
    if table is not None:
        taken += [
            Port(port.TABLE_INDEX, "int64", (port.PATCHES, TAPS), "entries of the position table for each patch"),
            Port(port.TABLE_WEIGHT, "float32", (port.PATCHES, TAPS), "their weights"),
        ]
    return tuple(taken)


def grid_vision(
    layers: int,
    patch: int,
    width: int,
    block: int,
    dtype: str,
    *,
    window: int | None = None,
    table: int | None = None,
    deepstack: tuple[int, int] | None = None,
) -> Ports:
    """Patches of ``patch`` numbers each, in a grid of any size, to their states of ``width`` in ``layers`` layers, and
    what all of them together attend to in ``block``.

    ``window`` and ``table`` are as a processor of kind ``grid`` has them; ``deepstack`` is how many more sets of visual
    tokens there are, and of which width.
    """
    read, seen = (port.FRAMES, layers, port.PATCHES, width), f"attention of all patches to each patch in block {block}"
    given = [
        Port(port.FEATURES, dtype, read, "patch states of the support layers"),
        Port(port.CLS_SALIENCY, "float32", (port.FRAMES, port.PATCHES), seen),
    ]
    if deepstack is not None:
        count, wide = deepstack
        stacked = (count, port.VISUAL_TOKENS, wide)
        given.append(Port(port.DEEPSTACK, dtype, stacked, "what the decoder's first layers add to the visual tokens"))
    return Ports(grid_inputs(patch, window, table), tuple(given))


def merging_projector(
    layers: int,
    vision_width: int,
    width: int,
    dtype: str,
    *,
    pictures: str = port.FRAMES,
    rows: int | str = port.PATCHES,
) -> Ports:
    """The features of ``rows`` patches of each of ``pictures`` to visual tokens of some patches each, which take the
    saliency along."""
    taken = (pictures, layers, rows, vision_width)
    return Ports(
        (
            Port(port.FEATURES, dtype, taken, "patch states of the support layers"),
            Port(port.ALPHA, "float32", (1, layers), "convex weights of the layers"),
            Port(port.CLS_SALIENCY, "float32", (pictures, rows), "saliency of the patches"),
        ),
        (
            Port(port.VISUAL, dtype, (1, port.VISUAL_TOKENS, width), "visual tokens in decoder space"),
            Port(port.TOKEN_SALIENCY, "float32", (1, port.VISUAL_TOKENS), "mean saliency of the patches of each"),
        ),
    )


def projector(layers: int, tokens: int, vision_width: int, width: int, dtype: str) -> Ports:
    """Features of ``layers`` layers and their weights to visual tokens of decoder ``width``."""
    taken = (port.BATCH, layers, tokens, vision_width)
    return Ports(
        (
            Port(port.FEATURES, dtype, taken, "patch states of the support layers"),
            Port(port.ALPHA, "float32", (port.BATCH, layers), "convex weights of the layers"),
        ),
        (Port(port.VISUAL, dtype, (port.BATCH, tokens, width), "visual tokens in decoder space"),),
    )


def pooling_projector(layers: int, patches: int, tokens: int, vision_width: int, width: int, dtype: str) -> Ports:
    """The same of patches of which several become a token, and take the mean of their saliency along."""
    taken = (port.BATCH, layers, patches, vision_width)
    return Ports(
        (
            Port(port.FEATURES, dtype, taken, "patch states of the support layers"),
            Port(port.ALPHA, "float32", (port.BATCH, layers), "convex weights of the layers"),
            Port(port.CLS_SALIENCY, "float32", (port.BATCH, patches), "saliency of the patches"),
        ),
        (
            Port(port.VISUAL, dtype, (port.BATCH, tokens, width), "visual tokens in decoder space"),
            Port(port.TOKEN_SALIENCY, "float32", (port.BATCH, tokens), "mean saliency of the patches of each"),
        ),
    )


def packing_projector(
    layers: int, rows: int, vision_width: int, width: int, dtype: str, *, mixes: bool = False
) -> Ports:
    """The same of tiles of ``rows`` each: an index makes tokens of the rows of all of them and, after these, a newline,
    and takes the saliency along. Where it ``mixes``, a token is a weighted mean of some rows."""
    taken = (port.BATCH, layers, rows, vision_width)
    packing = [
        Port(port.ROW_INDEX, "int64", (port.VISUAL_TOKENS,), "which row of the tiles, or the newline, a token is")
    ]
    if mixes:
        mixed = (port.VISUAL_TOKENS, TAPS)
        packing = [
            Port(port.ROW_INDEX, "int64", mixed, "rows of the tiles, or the newline, that a token is mixed of"),
            Port(port.ROW_WEIGHT, "float32", mixed, "their weights"),
        ]
    return Ports(
        (
            Port(port.FEATURES, dtype, taken, "patch states of the support layers"),
            Port(port.ALPHA, "float32", (1, layers), "convex weights of the layers"),
            Port(port.CLS_SALIENCY, "float32", (port.BATCH, rows), "saliency of the patches"),
            *packing,
        ),
        (
            Port(port.VISUAL, dtype, (1, port.VISUAL_TOKENS, width), "visual tokens in decoder space"),
            Port(port.TOKEN_SALIENCY, "float32", (1, port.VISUAL_TOKENS), "their saliency, 0 for a newline"),
        ),
    )
