"""Where visual tokens stand in a prompt, one function for each kind of layout that a manifest may name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from clasp_trt.bundle import Frames, Layout, Run, Tiles
from clasp_trt.runtime.media.seen import Block

Pieces = tuple[str | int, ...]
"""What takes the place of the placeholder of a picture or clip: texts, and numbers of visual tokens that follow one
another."""


_LONGEST = 1e13  # seconds that can be written as a duration


def run(layout: Run, blocks: Sequence[Block]) -> Pieces:
    """All tokens in one run."""
    return layout.before, sum(block.tokens for block in blocks), layout.after


def tiles(layout: Tiles, blocks: Sequence[Block]) -> Pieces:
    """A run for each block: those of the tiles, row by row, and then the whole picture's."""
    *cut, whole = blocks
    found = list[str | int]()
    for block, following in zip(cut, blocks[1:], strict=True):
        found += [_numbered(layout.tile, block), block.tokens]
        if following.row != block.row:
            found.append(layout.row_end)
    return *found, layout.whole if cut else layout.alone, whole.tokens, layout.after


def frames(layout: Frames, blocks: Sequence[Block]) -> Pieces:
    """A run for each block, after a text that says when it was."""
    found: list[str | int] = [_counted(layout, blocks)]
    for number, block in enumerate(blocks, start=1):
        found += [layout.between] if number > 1 else []
        found += [_timed(layout.before, number, block.seconds or 0.0), block.tokens, layout.after]
    return *found, layout.closing


def _counted(layout: Frames, blocks: Sequence[Block]) -> str:
    count = layout.numerals[len(blocks) - 1] if layout.numerals else str(len(blocks))
    seconds = blocks[-1].seconds if blocks[-1].duration is None else blocks[-1].duration
    lasts = timedelta(seconds=int(min(seconds or 0.0, _LONGEST)))
    return layout.opening.replace("{count}", count).replace("{duration}", str(lasts))


def _timed(text: str, number: int, seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    said = {"{number}": str(number), "{seconds}": f"{seconds:.1f}", "{clock}": f"{minutes:02d}:{rest:02d}"}
    for name, value in said.items():
        text = text.replace(name, value)
    return text


def _numbered(text: str, block: Block) -> str:
    return text.replace("{row}", str(block.row)).replace("{column}", str(block.column))


KINDS: Mapping[str, Callable[[Any, Sequence[Block]], Pieces]] = MappingProxyType(
    {Run.kind: run, Tiles.kind: tiles, Frames.kind: frames}
)
"""By the kind of the record in :mod:`clasp_trt.bundle.media`."""


def pieces(layout: Layout | Frames, blocks: Sequence[Block]) -> Pieces:
    """What a manifest's layout puts in the place of a picture or clip that became ``blocks``."""
    return KINDS[layout.kind](layout, blocks)
