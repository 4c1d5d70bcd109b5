"""The memory of an engine build, and cuts that keep it within bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_trt import build_memory
from clasp_trt.build_memory import Run, check_cut, cut, peak, within
from clasp_trt.errors import BackendError

GB = 10**9


def _runs(ends: list[int]) -> list[Run]:
    """Runs of layers from 0 on, each of which ends at one of ``ends``."""
    return [(before + 1, end) for before, end in pairwise([-1, *ends])]


@given(
    ends=st.lists(st.integers(0, 40), min_size=1, max_size=5, unique=True).map(sorted),
    layer=st.integers(1, 10**9),
    head=st.integers(0, 10**9),
    limit=st.integers(1, 30 * GB),
)
def test_cuts_are_as_few_as_it_takes(ends: list[int], layer: int, head: int, limit: int) -> None:
    def weigh(first: int, last: int) -> int:
        return layer * (last - first + 1) + (head if last == ends[-1] else 0)

    runs = _runs(ends)
    finer = cut(runs, limit, weigh)
    assert [each for first, last in finer for each in range(first, last + 1)] == list(range(ends[-1] + 1))
    assert set(ends) <= {last for _, last in finer}, "where a prune follows, a graph ends"
    for first, last in finer:
        assert first == last or peak(weigh(first, last)) <= limit
    for (first, last), (_, end) in pairwise(finer):
        assert last in ends or peak(weigh(first, end)) > limit, "these two would fit as one"


def test_without_a_limit_nothing_is_cut() -> None:
    assert cut(_runs([2, 6, 31]), None, lambda first, last: 10**15) == ((0, 2), (3, 6), (7, 31))


def test_the_limit_itself_is_allowed() -> None:
    limit = peak(2 * GB)
    assert cut([(0, 3)], limit, lambda first, last: GB * (last - first + 1)) == ((0, 1), (2, 3))
    check_cut({"segment_0": 2 * GB}, limit, "fp16")
    with pytest.raises(BackendError):
        check_cut({"segment_0": 2 * GB + 1}, limit, "fp16")


def test_what_cannot_be_cut_says_what_it_needs() -> None:
    line = (
        r"^building embed takes about 3\.2 GB \(0\.2 GB \+ 3 x its 1\.0 GB of weights\), more than "
        r"--max-build-memory 2, and cannot be cut finer; give at least 3\.3"
    )
    sizes = {"vision": 10**8, "embed": GB + 10, "segment_0": 5 * 10**8}
    with pytest.raises(BackendError, match=f"{line}$"):
        check_cut(sizes, 2 * GB, "fp16")
    with pytest.raises(BackendError, match=f"{line}, or take --precision fp16$"):
        check_cut(sizes, 2 * GB, "fp32")
    check_cut(sizes, round(3.3e9), "fp16")
    check_cut(sizes, None, "fp32")


@given(st.integers(build_memory.BASE_BYTES, 10**12))
def test_what_is_given_as_room_is_within_it(room: int) -> None:
    given = round(float(within(room)) * 1e9)
    assert room - 10**8 < given <= room
