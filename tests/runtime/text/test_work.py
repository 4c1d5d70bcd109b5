"""What a rendering does adds up, and ends where it is too much."""

from __future__ import annotations

import pytest

from clasp_trt.runtime.text import work
from clasp_trt.runtime.text.work import MAX_CHARACTERS, MAX_MADE, MAX_STEPS, BoundExceeded, Work, weight


def test_what_is_made_adds_up() -> None:
    done = Work()
    for _ in range(MAX_MADE // MAX_CHARACTERS):
        done.make(MAX_CHARACTERS)
    with pytest.raises(BoundExceeded, match=str(MAX_MADE)):
        done.make(1)


def test_one_value_is_bounded_by_itself() -> None:
    Work().make(MAX_CHARACTERS)
    with pytest.raises(BoundExceeded, match=str(MAX_CHARACTERS)):
        Work().make(MAX_CHARACTERS + 1)
    with pytest.raises(BoundExceeded, match=str(MAX_CHARACTERS)):
        Work().measured(["x" * (MAX_CHARACTERS // 2)] * 2)


def test_steps_are_counted() -> None:
    done = Work()
    for _ in range(MAX_STEPS):
        done.step()
    with pytest.raises(BoundExceeded, match=str(MAX_STEPS)):
        done.step()


def test_the_text_of_the_template_counts() -> None:
    done = Work()
    for _ in range(MAX_MADE // MAX_CHARACTERS):
        done.step(MAX_CHARACTERS)
    with pytest.raises(BoundExceeded, match=str(MAX_MADE)):
        done.step(1)


def test_the_clock_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(work.time, "monotonic", lambda: now[0])
    done = Work()
    now[0] = work.MAX_SECONDS
    done.step()
    now[0] += 0.01
    for look in (done.step, done.look_at_the_clock):
        with pytest.raises(BoundExceeded, match="2 s"):
            look()


def test_weights() -> None:
    shared: object = "x"
    for _ in range(80):
        shared = [shared, shared]
    assert weight(shared) > MAX_CHARACTERS
    assert weight({"ab": (1, "cde")}) == 2 * 16 + 2 + 2 * 16 + 0 + 3
    assert weight(None) == weight(1.5) == 0
    with pytest.raises(BoundExceeded):
        weight(1 << 5000)
