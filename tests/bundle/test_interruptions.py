"""Destinations that survive whatever interrupts a build: at every line, and from another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from clasp_trt.bundle import (
    Bundle,
    NotABundle,
    writer,
)
from clasp_trt.storage import folders, leftovers
from tests.bundle.written import build, label
from tests.started import own_environment

TRACED = {writer.__file__, folders.__file__, leftovers.__file__}


def strike(at: int, act: Callable[[FrameType], None]) -> Callable[[], int]:
    """Run ``act`` on the ``at``-th line that the writer executes; returns a function that stops and counts lines.

    Of a line that is executed often (once per file, or for each caller), the first two times count.
    """
    lines = 0
    times: Counter[tuple[str, int]] = Counter()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_code.co_filename not in TRACED or "__del__" in (frame.f_code.co_name, _caller(frame)):
            return None  # whatever is raised in a finalizer, Python drops
        if event == "line":
            here = (frame.f_code.co_filename, frame.f_lineno)
            times[here] += 1
            if times[here] <= 2:
                lines += 1
                if lines == at:
                    act(frame)
        return trace

    sys.settrace(trace)

    def stop() -> int:
        sys.settrace(None)
        return lines

    return stop


def _caller(frame: FrameType) -> str:
    return frame.f_back.f_code.co_name if frame.f_back else ""


@pytest.fixture
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # hundreds of builds; a power cut is not simulated


@pytest.fixture
def _keep_tracer() -> Iterator[None]:
    before = sys.gettrace()  # a coverage tool's
    yield
    sys.settrace(before)


CLEANING = {"remove", "discard", "retire", "sweep", "restore", "_if_dead", "siblings", "release"}


@pytest.mark.usefixtures("_no_fsync", "_keep_tracer")
@pytest.mark.parametrize(
    ("older", "step"),
    [
        (False, 19),
        (True, 19),
        pytest.param(True, 3, marks=pytest.mark.full),
        pytest.param(True, 1, marks=pytest.mark.slow),
        pytest.param(False, 1, marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_anywhere_leaves_nothing_behind(tmp_path: Path, older: bool, step: int) -> None:
    out, at, lines, dirty = tmp_path / "out", 0, 1, 0
    where = ""

    def interrupt(frame: FrameType) -> None:
        nonlocal where
        where = frame.f_code.co_name
        raise KeyboardInterrupt

    build(out, "older")
    while at < lines:
        at += step
        if not older:
            leftovers.discard(out)
        stop = strike(at, interrupt)
        try:
            build(out, "newer", force=True)
            lines = stop()
        except KeyboardInterrupt:
            lines = stop() + 1
        if os.listdir(tmp_path) not in ([], ["out"]):  # the interrupt hit the cleaning itself
            assert where in CLEANING | {"write"}
            dirty += 1
        try:
            assert label(Bundle.open(out, verify=True)) in ("older", "newer")
        except NotABundle:
            assert not older
        build(out, "older", force=True)
        assert os.listdir(tmp_path) == ["out"]
    assert at > 100
    assert dirty < at / step / 4


@pytest.mark.usefixtures("_no_fsync", "_keep_tracer")
@pytest.mark.parametrize(
    ("older", "step"),
    [
        (False, 29),
        (True, 29),
        pytest.param(True, 3, marks=pytest.mark.full),
        pytest.param(True, 1, marks=pytest.mark.slow),
        pytest.param(False, 1, marks=pytest.mark.slow),
    ],
)
def test_a_kill_anywhere_loses_no_bundle(tmp_path: Path, older: bool, step: int) -> None:
    """A child kills itself with SIGKILL at every ``step``-th line; the parent then opens, and builds again."""
    out, at, survived, restored = tmp_path / "out", 0, False, 0
    build(out, "older")
    while not survived:
        at += step
        if not older:
            leftovers.discard(out)
        child = os.fork()
        if child == 0:
            strike(at, lambda _: os.kill(os.getpid(), signal.SIGKILL))
            build(out, "newer", force=True)
            os._exit(0)
        survived = os.waitpid(child, 0)[1] == 0
        restored += older and not out.exists()
        try:
            assert label(Bundle.open(out, verify=True)) in (("older", "newer") if older else ("newer",))
        except NotABundle:
            assert not older
        build(out, "older", force=True)
        assert os.listdir(tmp_path) == ["out"]
    assert at > 100
    assert restored or not older or step > 1  # some kill did fall between the two renames


def test_a_killed_build_in_another_process_is_swept_and_a_living_one_is_not(tmp_path: Path) -> None:
    build(tmp_path / "out")
    script = f"""
        import sys, time
        from clasp_trt.bundle import write
        with write({str(tmp_path / "out")!r}, force=True) as making:
            (making.root / "half").write_bytes(bytes(1000))
            print(making.root.name, flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    other = subprocess.Popen(command, env=own_environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        staging = other.stdout.readline().strip()
        build(tmp_path / "out", "second", force=True)
        assert sorted(os.listdir(tmp_path)) == sorted([staging, "out"])
        assert (tmp_path / staging / "half").exists()
    finally:
        other.kill()
        other.communicate()
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "second"
    build(tmp_path / "out", "third", force=True)
    assert os.listdir(tmp_path) == ["out"]


def test_a_half_removed_bundle_never_counts_as_an_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Path]] = []
    discard = leftovers.discard

    def watch(folder: Path) -> None:
        seen.append(leftovers.siblings(tmp_path / "out", leftovers.REPLACED))
        discard(folder)

    build(tmp_path / "out")
    monkeypatch.setattr(leftovers, "discard", watch)
    build(tmp_path / "out", "second", force=True)
    assert seen
    assert not any(seen)


def test_folders_that_only_look_like_leftovers_are_kept(tmp_path: Path) -> None:
    kept = [".out.building-1-notours", ".out.building", ".out2.building-1-00000000", "x.out.building-1-00000000"]
    for name in kept:
        (tmp_path / name).mkdir()
    build(tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "out"])


def test_a_replacement_under_way_is_said_to_be(tmp_path: Path) -> None:
    aside = tmp_path / f".out.replaced-{os.getpid()}-00000000"
    build(tmp_path / "out").root.rename(aside)
    held = leftovers.Lock()
    assert held.acquire(aside)
    with pytest.raises(NotABundle, match="is being replaced"):
        Bundle.open(tmp_path / "out")
    held.release()
    assert label(Bundle.open(tmp_path / "out", verify=True)) == "first"
