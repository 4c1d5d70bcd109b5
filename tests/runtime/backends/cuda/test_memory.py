"""Who owns which bytes: blocks, scratch, and the way between host and device."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clasp_trt.runtime.backends.cuda.device import Device
from clasp_trt.runtime.backends.cuda.driver import Driver
from clasp_trt.runtime.backends.cuda.memory import GRAIN, Pool, Scratch, rounded
from tests.runtime.backends.cuda.null_driver import NullCuda, Violation

SIZES = st.integers(0, 5 * GRAIN)


def _pool() -> tuple[NullCuda, Pool]:
    cuda = NullCuda()
    return cuda, Pool(Driver(cuda))


@given(st.lists(st.tuples(SIZES, st.booleans()), max_size=40))
@settings(deadline=None)
def test_living_blocks_never_overlap(calls: list[tuple[int, bool]]) -> None:
    cuda, pool = _pool()
    living = []
    for size, goes in calls:
        block = pool.take(size)
        assert block.size >= max(1, size)
        cuda.bytes_at(block.address, block.size, "a block")
        living.append(block)
        if goes:
            living.pop(0)
        spans = sorted((each.address, each.address + each.size) for each in living)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert pool.allocated == cuda.allocated


@given(st.lists(SIZES, min_size=1, max_size=10))
@settings(deadline=None)
def test_the_same_again_takes_no_more(sizes: list[int]) -> None:
    cuda, pool = _pool()

    def take(sizes: Iterable[int]) -> int:
        blocks = [pool.take(size) for size in sizes]
        return len(blocks) and cuda.allocated

    before = take(sizes)
    for _ in range(3):
        assert take(reversed(sizes)) == before


def test_what_is_added_is_what_is_taken() -> None:
    cuda, pool = _pool()
    pool.add([1, GRAIN + 1])
    before = cuda.allocated
    blocks = [pool.take(GRAIN), pool.take(2 * GRAIN)]
    assert cuda.allocated == before == 3 * GRAIN
    fresh = pool.fresh(1)
    assert fresh.address not in [block.address for block in blocks]
    del blocks
    other = pool.fresh(1)
    assert cuda.allocated == before + 2 * GRAIN, "fresh blocks are never those that came back"
    del fresh, other


def test_blocks_that_outlive_the_pool() -> None:
    cuda, pool = _pool()
    block = pool.take(1)
    pool.close()
    assert cuda.allocated == 0
    del block


def test_scratch_stays_where_it_was_when_more_is_needed() -> None:
    cuda = NullCuda()
    scratch = Scratch(Driver(cuda), "scratch")
    scratch.need(GRAIN + 1)
    assert cuda.allocated == 0, "nobody asked for it yet"
    first = scratch.address(10)
    assert cuda.allocated == rounded(GRAIN + 1)
    assert scratch.address(GRAIN + 1) == first
    more = scratch.address(3 * GRAIN)
    cuda.bytes_at(first, GRAIN + 1, "the first")
    cuda.bytes_at(more, 3 * GRAIN, "the second")
    scratch.close()
    assert cuda.allocated == 0


@given(st.sampled_from(["float32", "float16", "int64", "bool"]), st.lists(st.integers(0, 4), max_size=3), st.integers())
@settings(deadline=None, max_examples=30)
def test_what_goes_in_comes_out(dtype: str, shape: list[int], seed: int) -> None:
    cuda = NullCuda()
    device = Device(Driver(cuda))
    array = np.random.default_rng(abs(seed)).integers(0, 2, shape).astype(dtype)
    tensor = device.upload(array)
    variable = device.zeros(tuple(shape), dtype)
    np.testing.assert_array_equal(device.download(variable), np.zeros(shape, dtype))
    device.write(variable, array)
    for found in (device.download(tensor), device.download(variable)):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    device.close()
    assert cuda.left() == []


def test_an_array_may_change_once_it_was_written() -> None:
    """A write is done later, of what was there then."""
    device = Device(Driver(NullCuda()))
    variable, array = device.zeros((2,), "int64"), np.array([1, 2])
    device.write(variable, array)
    array[:] = 0
    assert device.download(variable).tolist() == [1, 2]


def test_rows_are_those_between() -> None:
    device = Device(Driver(NullCuda()))
    array = np.arange(24.0, dtype=np.float32).reshape(1, 4, 6)
    np.testing.assert_array_equal(device.download(device.rows(device.upload(array), 1, 3)), array[:, 1:3])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("sets", [1, 3])
def test_joined_tensors_follow_one_another(dtype: str, sets: int) -> None:
    cuda = NullCuda()
    device = Device(Driver(cuda))
    parts = [np.arange(6 * rows * sets).reshape(sets, rows, 6).astype(dtype) for rows in (3, 0, 1, 5)]
    whole = device.join([device.upload(part) for part in parts])
    assert device.spec(whole) == (dtype, (sets, 9, 6))
    np.testing.assert_array_equal(device.download(whole), np.concatenate(parts, axis=1))


def test_many_small_copies_take_little_pinned_memory() -> None:
    cuda = NullCuda()
    device = Device(Driver(cuda))
    variable = device.zeros((1,), "int64")
    for number in range(50):
        device.write(variable, np.array([number]))
        assert device.download(variable).item() == number
    assert cuda.pinned == 2 * 4096


def test_nothing_is_uploaded_while_a_step_is_recorded() -> None:
    device = Device(Driver(NullCuda()))
    late = device.upload(np.zeros(3, np.float32))
    with pytest.raises(RuntimeError, match="would be recorded"):
        device.recordings.run("key", lambda: late.address if device.recordings.recording else None)


def test_bfloat16_does_not_come_to_the_host() -> None:
    from clasp_trt.errors import BackendError

    device = Device(Driver(NullCuda()))
    with pytest.raises(BackendError, match="bfloat16"):
        device.download(device.zeros((2, 2), "bfloat16"))


# --- the null device's own rules


def test_addresses_of_freed_memory() -> None:
    cuda = NullCuda()
    driver = Driver(cuda)
    one = driver.allocate(100, "a test")
    driver.free(one)
    with pytest.raises(Violation, match="are freed"):
        driver.clear(one, 1)
    with pytest.raises(Violation, match="not allocated"):
        driver.free(one)


def test_a_byte_too_many() -> None:
    driver = Driver(NullCuda())
    one = driver.allocate(100, "a test")
    driver.clear(one, 100)
    with pytest.raises(Violation, match=r"101 bytes at .* not allocated"):
        driver.clear(one, 101)


def test_freeing_what_is_in_use() -> None:
    driver = Driver(NullCuda())
    one = driver.allocate(100, "a test")
    driver.clear(one, 100)
    with pytest.raises(Violation, match="while the device has work to do"):
        driver.free(one)


def test_waiting_and_allocating_while_work_is_recorded() -> None:
    driver = Driver(NullCuda())
    driver.begin_capture()
    for call in (driver.wait, lambda: driver.allocate(1, "a test"), lambda: driver.allocate_pinned(1)):
        with pytest.raises(Violation, match="while work is recorded"):
            call()


def test_what_is_left_is_told() -> None:
    cuda = NullCuda()
    driver = Driver(cuda)
    driver.allocate(100, "a test")
    driver.allocate_pinned(10)
    driver.begin_capture()
    driver.end_capture()
    assert [entry.partition(" at ")[0] for entry in cuda.left()] == [
        "100 bytes of the device", "10 pinned bytes", "a graph", "the stream", "the context",
    ]  # fmt: skip
