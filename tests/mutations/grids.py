"""Faults in pictures that keep their shape, and in what several positions a row and additions to its tokens bring."""

from __future__ import annotations

from tests.mutations.table import DECODER, IN_DECODER, Mutation

GRID, PATCHING, POSITIONS = "runtime/media/processors/grid.py", "clasp_trt/patching.py", "runtime/text/positions.py"
IN_GRID, IN_PATCHING = ("tests/runtime/media/processors/test_grid.py",), ("tests/test_patching.py",)
IN_POSITIONS = ("tests/runtime/text/test_positions.py",)
ORDER, PLACES = ".transpose(2, 5, 3, 6, 0, 1, 4, 7)", ".transpose(0, 2, 1, 3).reshape(-1)"
WINDOW, TAPS = "row // side, column // side", "np.minimum(taps, side - 1)"
CAP = "min(self.most_tokens * self.block**2, slender)"
NARROWED = "for name in port.NARROWED if port.out(name) in outputs"
NEXT = "np.array([each.next_position for each in live])[:, None]"

GRIDS = (
    Mutation("patches row by row", GRID, ORDER, ".transpose(2, 3, 5, 6, 0, 1, 4, 7)", IN_GRID),
    Mutation("places row by row", GRID, PLACES, ".reshape(-1)", IN_GRID),
    Mutation("windows that begin a column early", GRID, WINDOW, WINDOW.replace("column", "(column + 1)"), IN_GRID),
    Mutation("the last entry of a table is passed", GRID, TAPS, "taps", IN_GRID),
    Mutation("a half is rounded up", PATCHING, "round(side / block)", "math.floor(side / block + 0.5)", IN_PATCHING),
    Mutation("slender pictures over the cap", PATCHING, CAP, "self.most_tokens * self.block**2", IN_PATCHING),
    Mutation(
        "a picture takes a position for each token",
        POSITIONS,
        "following += max(block.grid[1:])",
        "following += block.tokens",
        IN_POSITIONS,
    ),
    Mutation(
        "answers begin right after the text",
        POSITIONS,
        "int(found.max(initial=-1)) + 1",
        "following + rows - row",
        IN_POSITIONS,
    ),
    Mutation(
        "a step at the position before", DECODER, NEXT, NEXT.replace("next_position", "next_position - 1"), IN_DECODER
    ),
    Mutation(
        "additions to tokens that were dropped",
        DECODER,
        NARROWED,
        NARROWED.replace("NARROWED", "NARROWED[:-1]"),
        IN_DECODER,
    ),
)
