"""A picture of noise has as many visual tokens as were asked for, whatever the processor makes of its size."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clasp_trt.bundle import Bundle, Grid, Longest, Processor, Ratio, Square
from clasp_trt.bundle.media import Anyres
from clasp_trt.errors import ImageError
from clasp_trt.runtime.media.processors import processor as processor_of
from clasp_trt.tools.profile.sizes import size_of
from clasp_trt.tools.profile.workload import Workload, noise, picture_tokens
from tests.mistakes import says

PIXELS = {"resample": "bicubic", "rescale": 1 / 255, "mean": (0.5,) * 3, "std": (0.5,) * 3}
PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
KINDS: dict[str, Processor] = {
    "square": Square(side=336, cell=14, shortest_edge=336, size=None, **PIXELS),  # type: ignore[arg-type]
    "anyres": Anyres(336, 14, PINPOINTS, **PIXELS),  # type: ignore[arg-type]
    "grid": Grid(14, 2, 2, 4 * 28**2, 16384 * 28**2, window=None, table=None, **PIXELS),  # type: ignore[arg-type]
    "ratio": Ratio(448, 14, 2, least=1, most=12, **PIXELS),  # type: ignore[arg-type]
    "longest": Longest(364, 14, 2, longest=1456, split=True, **PIXELS),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(
    ("kind", "tokens", "size"),
    [
        ("square", 576, (336, 336)),
        ("anyres", 2928, None),
        ("anyres", 2340, None),
        ("grid", 391, (476, 644)),
        ("grid", 4096, (1792, 1792)),
        ("grid", 101, (28, 2828)),
        ("ratio", 768, None),
        ("ratio", 3328, None),
        ("longest", 1521, None),
    ],
)
def test_a_picture_has_the_tokens_asked_for(kind: str, tokens: int, size: tuple[int, int] | None) -> None:
    found = size_of(KINDS[kind], tokens)
    assert processor_of(KINDS[kind]).count(*found) == tokens
    assert size in (None, found)


@pytest.mark.parametrize(
    ("kind", "tokens", "near"), [("square", 575, (576,)), ("ratio", 1000, (768, 1024)), ("grid", 3, (4,))]
)
def test_a_number_that_no_picture_has(kind: str, tokens: int, near: tuple[int, ...]) -> None:
    with pytest.raises(ImageError) as refused:
        size_of(KINDS[kind], tokens)
    says(refused, tokens, *near)


def test_pictures_of_a_bundle(varying: Bundle, built: Callable[..., Bundle]) -> None:
    """Each another, and each of the tokens asked for."""
    shown = noise(varying, 0, 30), noise(varying, 1, 30), noise(varying)
    assert picture_tokens(varying, Workload(shown, "What?", None, 2)) == [30, 30, 88]
    assert shown[0].size == shown[1].size
    assert shown[0].tobytes() != shown[1].tobytes()
    assert noise(built()).tobytes() == noise(built(), tokens=16).tobytes()
