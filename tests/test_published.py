"""The published stages, as fractions of other numbers of tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clasp_trt.published import PUBLISHED_KEEPS, scaled_keeps


@given(tokens=st.integers(4, 5000), published=st.sampled_from(sorted(PUBLISHED_KEEPS)))
def test_scaled_keeps_are_the_published_fractions(tokens: int, published: int) -> None:
    found = scaled_keeps(published, tokens)
    assert list(found) == sorted(set(found), reverse=True)
    assert found[-1] >= 1
    for number, (keep, of_576) in enumerate(zip(found, PUBLISHED_KEEPS[published], strict=True)):
        assert abs(keep - of_576 * tokens / 576) <= max(0.5, 3 - number)


@pytest.mark.parametrize(("published", "expected"), [(192, (75, 50, 28)), (128, (76, 28, 9)), (64, (17, 8, 4))])
def test_scaled_keeps_of_144_tokens(published: int, expected: tuple[int, ...]) -> None:
    assert scaled_keeps(published, 144) == expected
