"""A build that is stopped at any moment leaves nothing of its own and harms nothing that was there."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.cli import signals
from tests.cli.conftest import Clasp, Refused
from tests.started import own_environment

PATIENCE_S = 60.0


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def staging(beside: Path) -> list[Path]:
    return list(beside.glob(".out.building-*"))


@pytest.fixture(scope="session")
def short_sighted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose tower, which is traced anew in every process, has two layers."""
    from examples.random_llava import PRESETS, make

    return make(tmp_path_factory.mktemp("short-sighted") / "tiny", replace(PRESETS["tiny"], vision_layers=2))


@pytest.fixture
def earlier(bundle: Path, tmp_path: Path) -> Path:
    """A bundle where the interrupted build was going to put its own."""
    return Path(shutil.copytree(bundle, tmp_path / "out"))


Build = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def build(short_sighted: Path, shell: dict[str, str], tmp_path: Path) -> Iterator[Build]:
    """Starts a build to ``out`` and returns when a path of this pattern exists in its staging folder."""
    started: list[subprocess.Popen[str]] = []

    def start(until: str) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "clasp_trt", "build", short_sighted, "-o", tmp_path / "out", "--force"]
        process = subprocess.Popen(
            [*line, "--budget", "8"],
            env=shell,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # our own shell may have ignored it
        )
        started.append(process)
        deadline = time.monotonic() + PATIENCE_S
        while not any(True for folder in staging(tmp_path) for _ in folder.parent.glob(f"{folder.name}/{until}")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.full
@pytest.mark.parametrize(
    ("number", "code", "line", "until"),
    [
        (signal.SIGINT, 130, "error: interrupted\n", "graphs"),  # while the first graph is traced
        (signal.SIGTERM, 143, "error: stopped by SIGTERM\n", "graphs/segment_0.onnx"),  # while graphs are written
    ],
)
def test_signals(
    build: Build, earlier: Path, tmp_path: Path, number: signal.Signals, code: int, line: str, until: str
) -> None:
    before = contents(earlier)
    process = build(until)
    process.send_signal(number)
    assert process.communicate(timeout=PATIENCE_S) == ("", line)
    assert process.returncode == code
    assert names(tmp_path) == ["out"]
    assert contents(earlier) == before


@pytest.mark.full
def test_interrupted_while_torch_is_loading(build: Build, tmp_path: Path) -> None:
    """A signal that hits a C extension's initialisation may come back as an ImportError."""
    process = build("")
    time.sleep(0.8)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE_S) == ("", "error: interrupted\n")
    assert process.returncode == 130
    assert names(tmp_path) == []


@pytest.mark.full
def test_kill_leaves_a_folder_that_the_next_build_sweeps(
    build: Build, clasp: Clasp, portable: Path, earlier: Path, tmp_path: Path
) -> None:
    before = contents(earlier)
    process = build("graphs/segment_0.onnx")
    process.kill()
    process.wait()
    assert len(staging(tmp_path)) == 1
    assert contents(earlier) == before
    Bundle.open(earlier, verify=True)
    assert clasp("build", portable, "-o", earlier, "--force").code == 0
    assert names(tmp_path) == ["out"]
    Bundle.open(earlier, verify=True)


def test_signal_that_a_library_swallows_still_stops_the_build(
    clasp: Clasp, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clasp_trt.export.checkpoint import Checkpoint

    opened = Checkpoint.open

    def careless(model: str, *rest: Any) -> Checkpoint:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(PATIENCE_S)
        except BaseException:
            return opened(model, *rest)
        raise AssertionError

    monkeypatch.setattr(Checkpoint, "open", careless)
    done = clasp("build", checkpoint, "-o", tmp_path / "out", "--budget", "8")
    assert (done.code, done.out, done.err) == (143, "", "error: stopped by SIGTERM\n")
    assert names(tmp_path) == []


def test_signal_within_a_callback_of_the_interpreter_still_stops(capfd: pytest.CaptureFixture[str]) -> None:
    """Where it falls no exception leaves: it would be a traceback on the terminal, and forgotten."""

    class Thing: ...

    thing = Thing()
    callback = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with signals.signals_raise() as caught:
        del thing
        began = time.monotonic()
        with pytest.raises(signals.Stopped):
            time.sleep(PATIENCE_S)
    assert time.monotonic() - began < PATIENCE_S / 2
    assert set(caught) == {signal.SIGTERM}
    assert capfd.readouterr() == ("", "")
    assert callback() is None


def test_ignored_signals_stay_ignored(portable: Path, shell: dict[str, str], tmp_path: Path) -> None:
    """As for a job that a shell started in the background, or under nohup."""
    probe = "import os, signal; from clasp_trt.cli.signals import signals_raise\n"
    probe += "with signals_raise() as caught: os.kill(os.getpid(), signal.SIGINT)\nprint(caught)"
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env=shell,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("command", [pytest.param("build", marks=pytest.mark.full), "complete"])
def test_file_that_does_not_fit(
    short_sighted: Path, portable: Path, earlier: Path, shell: dict[str, str], tmp_path: Path, command: str
) -> None:
    """A limit on the size of files stands for a full disk: both end a write half way."""
    before = contents(earlier)
    model = [short_sighted, "--budget", "8"] if command == "build" else [portable]
    limit = max(file.stat().st_size for file in (portable / "graphs").iterdir()) // 2
    done = subprocess.run(
        [sys.executable, "-m", "clasp_trt", "build", *model, "-o", earlier, "--force"],
        env=shell,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {earlier}: the file-size limit is reached after ")
    assert done.stderr.endswith("nothing was changed: make room or choose another destination\n")
    assert done.stderr.count("\n") == 1
    assert names(tmp_path) == ["out"]
    assert contents(earlier) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if (
        os.geteuid() != 0
        or shutil.which("mount") is None
        or subprocess.run(mount, env=own_environment(), check=False).returncode
    ):
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", place], env=own_environment(), check=True)


def test_full_disk(refused: Refused, portable: Path, small_disk: Path) -> None:
    line = refused("build", portable, "-o", small_disk / "new" / "out")
    assert line.startswith(f"{small_disk}/new/out: no space left on the device after ")
    assert names(small_disk) == []
