"""Which size a picture has that becomes a given number of visual tokens."""

from __future__ import annotations

from clasp_trt.bundle import Anyres, Grid, Processor, Square
from clasp_trt.bundle.media import MAX_SIDE
from clasp_trt.errors import ImageError
from clasp_trt.runtime.media.processors import processor as processor_of


def size_of(processor: Processor, tokens: int) -> tuple[int, int]:
    """Height and width in pixels of the squarest picture of ``tokens`` visual tokens, a wide one where it may be wide.

    Raises :class:`ImageError` where no picture has so many, naming the nearest numbers that some have.
    """
    count, squarest = processor_of(processor).count, dict[int, tuple[float, tuple[int, int]]]()
    step, longest = _sides(processor)
    for short in range(step, longest + 1, step):
        for long in range(short, longest + 1, step):
            for size in ((short, long), (long, short)):
                found = count(*size)
                if found not in squarest or long / short < squarest[found][0]:
                    squarest[found] = long / short, size
    if tokens in squarest:
        return squarest[tokens][1]
    below, above = (few for few in squarest if few < tokens), (many for many in squarest if many > tokens)
    near = " or ".join(str(each) for each in (max(below, default=None), min(above, default=None)) if each is not None)
    raise ImageError(f"no picture has {tokens} visual tokens in this bundle; ask for {near}")


def _sides(processor: Processor) -> tuple[int, int]:
    """By how many pixels sides are told apart, and the longest of them."""
    if isinstance(processor, Square):
        return processor.side, processor.side
    if isinstance(processor, Anyres):
        return processor.cell, max(side for pinpoint in processor.pinpoints for side in pinpoint)
    return processor.patching.block if isinstance(processor, Grid) else processor.tile, MAX_SIDE
