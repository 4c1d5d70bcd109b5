"""The null device notices: each test breaks one thing of the runtime, and a request breaks a rule or answers wrong."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.runtime.backends.cuda.context import Context
from clasp_trt.runtime.backends.cuda.device import Device
from clasp_trt.runtime.backends.cuda.driver import Driver
from clasp_trt.runtime.backends.cuda.recording import Recordings
from clasp_trt.runtime.backends.cuda.session import Session
from clasp_trt.runtime.backends.cuda.staging import Staging
from clasp_trt.runtime.decoder import Decoder
from clasp_trt.runtime.pipeline import load
from clasp_trt.runtime.timing import Timer
from tests.prompts import prompt_of
from tests.runtime.backends.cuda.conftest import Rig
from tests.runtime.backends.cuda.null_driver import Violation

pytestmark = pytest.mark.full  # CUDA on a null device, broken on purpose

QUESTION = "How many cups are there?"
Patch = pytest.MonkeyPatch
Rigs = Callable[..., Rig]


@pytest.fixture(scope="module")
def expected(compiled: Callable[..., Bundle], photos: dict[str, Path]) -> tuple[int, ...]:
    return load(compiled().root, provider="cpu").generate(photos["coffee"], QUESTION, max_new_tokens=12).token_ids


@pytest.fixture
def broken(rig: Rigs, photos: dict[str, Path], monkeypatch: Patch) -> Callable[..., tuple[int, ...]]:
    """Answers on a null device whose runtime was changed; the change ends before the device is closed."""

    def answer(change: Callable[[Patch], None], **options: Any) -> tuple[int, ...]:
        here = rig(**options)
        with monkeypatch.context() as patch:
            change(patch)
            try:
                return here.pipeline.generate(photos["coffee"], QUESTION, max_new_tokens=12).token_ids
            finally:
                here.cuda._queue.clear()
                here.cuda._capture = None

    return answer


def _writes_nothing_of(shape: tuple[int, ...], place: int) -> Callable[[Patch], None]:
    """Leaves out the write of every step that is number ``place`` among those of ``shape``."""

    def change(patch: Patch) -> None:
        real, count = Device.write, [0]

        def write(self: Device, tensor: Any, array: Any) -> None:
            if array.shape == shape:
                count[0] += 1
                if count[0] % (2 if shape == (1, 1) else 4) == place:
                    return
            real(self, tensor, array)

        patch.setattr(Device, "write", write)

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_writes_nothing_of((1, 1), 1), id="the token"),
        pytest.param(_writes_nothing_of((1, 1), 0), id="the position"),
        pytest.param(_writes_nothing_of((1,), 1), id="the place in the first cache"),
        pytest.param(_writes_nothing_of((1,), 0), id="the place in the last cache"),
    ],
)
def test_what_is_not_written_before_a_step(
    broken: Callable[..., tuple[int, ...]], expected: tuple[int, ...], change: Callable[[Patch], None]
) -> None:
    assert broken(change) != expected


def test_slots_that_are_not_read(broken: Callable[..., tuple[int, ...]], expected: tuple[int, ...]) -> None:
    def change(patch: Patch) -> None:
        first: list[tuple[int, ...]] = []
        real = Decoder._lengths

        def lengths(self: Decoder, *given: Any) -> tuple[int, ...]:
            first.append(real(self, *given))
            return first[0]

        patch.setattr(Decoder, "_lengths", lengths)

    assert broken(change, kv_block=4) != expected


def test_a_host_that_does_not_wait(broken: Callable[..., tuple[int, ...]], expected: tuple[int, ...]) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - garbage is no token, or no index
        assert broken(lambda patch: patch.setattr(Driver, "wait", lambda self: None)) == expected


def test_pinned_memory_that_is_used_again_too_early(
    broken: Callable[..., tuple[int, ...]], expected: tuple[int, ...]
) -> None:
    def put(self: Staging, array: Any, address: int) -> None:
        size, pinned = self._take(array.nbytes)
        ctypes.memmove(pinned, np.ascontiguousarray(array).ctypes.data, array.nbytes)
        self._driver.copy_in(address, pinned, array.nbytes)
        self._free[size].append(pinned)

    try:
        found = broken(lambda patch: patch.setattr(Staging, "put", put))
    except Exception:  # an index that is none
        return
    assert found != expected


@pytest.mark.parametrize("changed", [True, False])
def test_a_length_on_the_host_that_changes_under_tensorrt(rig: Rigs, monkeypatch: Patch, changed: bool) -> None:
    """Two steps that nobody waits for, with the slots of the second where TensorRT reads those of the first."""
    here = rig(kv_block=1)
    here.backend.device.recordings.enabled = False
    decoder = here.pipeline._steps.decoder
    sequence, _, _ = decoder.prefill(prompt_of(np.arange(1, 6)), None, None, (), Timer())
    real = Context.set_host_value

    def in_place(self: Context, name: str, value: int) -> None:
        if name in self._values:
            self._values[name][:] = value
            self._inferred = False
        else:
            real(self, name, value)

    if changed:
        monkeypatch.setattr(Context, "set_host_value", in_place)
    for token in (7, 8):
        scores = decoder.step({sequence: [token]})
    with pytest.raises(Violation, match="changed before it was done") if changed else nullcontext():
        here.backend.download(scores.logits)


def test_memory_that_is_not_pinned(broken: Callable[..., tuple[int, ...]]) -> None:
    kept: list[np.ndarray] = []

    def take(self: Staging, size: int) -> tuple[int, int]:
        kept.append(np.zeros(size, np.uint8))
        return size, kept[-1].ctypes.data

    with pytest.raises(Violation, match="are not pinned"):
        broken(lambda patch: patch.setattr(Staging, "_take", take))


@pytest.mark.parametrize(("offset", "rule"), [(64, "not an aligned address"), (1 << 20, "not allocated|written over")])
def test_an_address_beside(broken: Callable[..., tuple[int, ...]], offset: int, rule: str) -> None:
    real = Context.set_address

    def beside(self: Context, name: str, address: int) -> None:
        real(self, name, address + (offset if name == "hidden_out" else 0))

    with pytest.raises(Violation, match=rule):
        broken(lambda patch: patch.setattr(Context, "set_address", beside))


def test_a_recorded_context_that_serves_others_too(broken: Callable[..., tuple[int, ...]]) -> None:
    with pytest.raises(Violation, match="of a recorded context is changed"):
        broken(
            lambda patch: patch.setattr(Session, "_context", lambda self, number: self._contexts[None, number]),
            kv_block=4,
        )


def test_a_step_that_is_recorded_before_it_ran(broken: Callable[..., tuple[int, ...]]) -> None:
    def run(self: Recordings, key: Any, step: Callable[[], Any]) -> Any:
        self.lane = key
        self._driver.begin_capture()
        return step()

    with pytest.raises(Violation, match="while work is recorded"):
        broken(lambda patch: patch.setattr(Recordings, "run", run))


def test_a_cache_that_is_written_over_without_leave(broken: Callable[..., tuple[int, ...]]) -> None:
    with pytest.raises(Violation, match="is written over past_"):
        broken(lambda patch: patch.setattr(Session, "_written_over", lambda *arguments: False), aliasing=False)


def test_a_cache_elsewhere_although_it_must_be_in_place(broken: Callable[..., tuple[int, ...]]) -> None:
    def change(patch: Patch) -> None:
        patch.setattr(Session, "_destination", lambda self, name, inputs, into: into.get(name))
        patch.setattr(
            Session, "_written_over", lambda self, name, place, read: place is not None and place.address in read
        )

    with pytest.raises(Violation, match="does not lie where past_"):
        broken(change, aliasing=True)


@pytest.mark.parametrize("kept", [True, False])
def test_blocks_of_a_recording_that_others_get(rig: Rigs, photos: dict[str, Path], kept: bool) -> None:
    """A replay writes there still, whoever has them by then."""
    here = rig()
    here.pipeline.generate(photos["coffee"], QUESTION, max_new_tokens=2)
    steps = here.backend.device.recordings._steps
    if not kept:
        steps.update({key: replace(steps[key], blocks=()) for key in steps})
    images = [here.pipeline.encode(photos["coffee"]) for _ in range(8)]  # some of which get such blocks
    before = here.backend.download(images[0].outputs["features"])
    here.pipeline.generate(images[0], QUESTION, max_new_tokens=4)
    assert all(np.array_equal(here.backend.download(image.outputs["features"]), before) for image in images) is kept
