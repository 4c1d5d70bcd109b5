"""What TensorRT calls back: progress as one number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clasp_trt.engines.tensorrt.callbacks import Phases, monitor
from tests.engines.tensorrt import fake


def test_nested_phases_are_one_fraction() -> None:
    phases = Phases()
    assert phases.fraction == 0
    phases.start("build", None, 4)
    phases.start("layers", "build", 10)
    phases.step("layers", 4)
    assert phases.fraction == 0.125
    phases.finish("layers")
    phases.step("build", 0)
    assert phases.fraction == 0.25
    phases.step("build", 3)
    assert phases.fraction == 1


@given(
    st.lists(
        st.tuples(st.sampled_from(["start", "step", "finish"]), st.sampled_from("abc"), st.integers(0, 5)), max_size=30
    )
)
def test_whatever_comes_the_fraction_grows_from_0_to_1(events: list[tuple[str, str, int]]) -> None:
    parents = {"a": None, "b": "a", "c": "b"}
    phases, last = Phases(), 0.0
    for kind, name, number in events:
        if kind == "start":
            phases.start(name, parents[name], number)
        elif kind == "step":
            phases.step(name, number)
        else:
            phases.finish(name)
        assert last <= phases.fraction <= 1
        last = phases.fraction


def test_the_monitor_goes_on_until_it_is_cancelled() -> None:
    parts: list[float] = []

    def go_on(part: float) -> bool:
        parts.append(part)
        return part < 1

    watch = monitor(fake.module(fake.Record()), go_on)
    watch.phase_start("build", None, 2)
    assert watch.step_complete("build", 0)
    assert not watch.step_complete("build", 1)
    assert parts == [0.5, 1]
