"""A check on a GPU whose parts are played: what passes, fails, is skipped, crashes or hangs is told as such."""

from __future__ import annotations

import shutil
import subprocess
import sys
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clasp_trt.errors import BackendError
from tests.engines.kernels.conftest import emulator
from tests.engines.kernels.emulator import Emulator
from tests.gpu.harness import check, environment
from tests.gpu.harness.emulated_driver import EmulatedDriver
from tests.gpu.harness.needs import missing
from tests.gpu.harness.part import Notes
from tests.gpu.harness.results import COMPLETE, PARTS, Outcome, Part, Results
from tests.house import ROOT
from tests.started import own_environment

__all__ = ["emulator"]

pytestmark = pytest.mark.full  # every part of the check, in processes of their own

HEAD = "import os, time, pytest\npytestmark = pytest.mark.gpu\n"


def played(folder: Path, text: str, seconds: float = 60) -> Outcome:
    (folder / "test_played.py").write_text(HEAD + text)
    return check.run_apart(Part("test_played", "a play", 60), seconds, folder)


def test_what_a_part_finds(tmp_path: Path) -> None:
    outcome = played(
        tmp_path,
        """
def test_right(record_property): record_property("figure", {"ms": 1.5})
def test_wrong(): assert 1 == 2, "not equal"
def test_lacking(): pytest.skip("there is no such library")
def test_unmarked_setup(missing_fixture): pass
""",
    )
    assert (outcome.passed, outcome.skipped, outcome.ended) == (1, {"there is no such library": 1}, COMPLETE)
    assert outcome.facts == {"figure": [{"ms": 1.5}]}
    assert outcome.failed[0] == "test_played, test_wrong: AssertionError: not equal assert 1 == 2"
    assert "fixture 'missing_fixture' not found" in outcome.failed[1]
    assert outcome.verdict == "failed"


def test_a_crash_loses_nothing_of_what_went_before(tmp_path: Path) -> None:
    outcome = played(tmp_path, "def test_a(): pass\ndef test_b(): os._exit(134)\n")
    assert (outcome.passed, outcome.ended, outcome.verdict) == (1, "ended with exit code 134", "failed")


def test_a_part_that_hangs_is_stopped_with_what_it_started(tmp_path: Path) -> None:
    started = tmp_path / "started"
    text = f"""
def test_a(): pass
def test_b():
    import subprocess
    child = subprocess.Popen(["sleep", "600"])
    open({str(started)!r}, "w").write(str(child.pid))
    child.wait()
"""
    outcome = played(tmp_path, text, seconds=10)
    assert (outcome.passed, outcome.ended, outcome.verdict) == (1, "stopped after 10 s", "failed")
    assert "sleep" not in _command_of(int(started.read_text()))


def _command_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text()  # empty once it is dead
    except OSError:
        return ""


def test_what_a_part_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    started = tmp_path / "started"
    text = f"""
def test_a():
    import subprocess
    open({str(started)!r}, "w").write(str(subprocess.Popen(["sleep", "600"]).pid))
"""
    assert played(tmp_path, text).verdict == "passed"
    assert "sleep" not in _command_of(int(started.read_text()))


def test_options_and_plugins_of_this_machine_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    monkeypatch.setenv("PYTEST_PLUGINS", "no_such_module")
    assert played(tmp_path, "def test_a(): pass\n").verdict == "passed"


def test_a_slow_part_leaves_the_others_their_share(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, given = [0.0], dict[str, float]()

    def play(part: Part, seconds: float) -> Outcome:
        given[part.module] = seconds
        now[0] += seconds
        return Outcome(part.module, passed=1, ended=COMPLETE)

    monkeypatch.setattr(check, "load_driver", lambda: EmulatedDriver(emulator))
    monkeypatch.setattr(check, "run_apart", play)
    monkeypatch.setattr(check.time, "monotonic", lambda: now[0])
    check.main(["--results", str(tmp_path), "--seconds", "86"])
    wanted = sum(part.seconds for part in PARTS)
    assert given == {part.module: pytest.approx(part.seconds * 86 / wanted) for part in PARTS}
    check.main(["--results", str(tmp_path), "--seconds", "10000"])
    assert given == {part.module: part.seconds for part in PARTS}


def test_checks_for_which_no_time_is_left_are_skipped(tmp_path: Path) -> None:
    def begin(seconds: float, **module: int) -> None:
        check = SimpleNamespace(module=SimpleNamespace(**module))
        Notes("m", tmp_path / "notes.json", seconds).pytest_runtest_setup(check)  # type: ignore[arg-type]

    begin(60)
    begin(60, SECONDS=50)
    for seconds, module in (-1, {}), (60, {"SECONDS": 70}):
        with pytest.raises(pytest.skip.Exception, match="used up"):
            begin(seconds, **module)


def test_a_part_without_time_is_not_begun(tmp_path: Path) -> None:
    assert played(tmp_path, "def test_a(): pass\n", seconds=2).verdict == "not run"


def test_every_file_of_checks_is_a_part_and_marked() -> None:
    files = {path.stem: path for path in (ROOT / "tests" / "gpu").glob("test_*.py")}
    assert {part.module for part in PARTS} == set(files)
    for path in files.values():
        assert "pytestmark = pytest.mark.gpu" in path.read_text(), path
    assert sum(part.seconds for part in PARTS) >= check.SECONDS


def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gpu", "--results", str(tmp_path / "results")],
        cwd=ROOT, capture_output=True, text=True, check=False, env={"PATH": "", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert not (tmp_path / "results").exists()


def test_a_whole_check(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the device emulated and its parts played."""
    asked: list[str] = []

    def play(part: Part, seconds: float) -> Outcome:
        asked.append(part.module)
        return Outcome(part.module, passed=3, ended=COMPLETE)

    monkeypatch.setattr(check, "load_driver", lambda: EmulatedDriver(emulator))
    monkeypatch.setattr(check, "run_apart", play)
    assert check.main(["--results", str(tmp_path)]) == 0
    assert asked == [part.module for part in PARTS]
    results = Results.from_json((tmp_path / "gpu-results.json").read_text())
    assert results.is_clean
    assert (results.environment.device, results.environment.capability, results.environment.cuda) == (
        "Emulated", "9.0", "13.0",
    )  # fmt: skip
    assert {"Python", "torch", "onnx", "onnxruntime"} <= set(results.environment.versions)
    assert "| device | Emulated, SM 9.0, 132 multiprocessors |" in (tmp_path / "gpu-results.md").read_text()
    asked.clear()
    monkeypatch.setattr(check, "run_apart", lambda part, seconds: Outcome(part.module, failed=["x"], ended=COMPLETE))
    assert check.main(["--results", str(tmp_path), "--only", "test_timing"]) == 1
    monkeypatch.setattr(check, "ROOT", tmp_path / "tree")
    assert check.main([]) == 1
    assert (tmp_path / "tree" / "docs" / "gpu-results.md").is_file()


def test_a_part_of_a_check_does_not_take_the_place_of_a_whole_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        check.main(["--only", "test_timing"])
    assert stopped.value.code == 2
    assert "--only needs --results" in capsys.readouterr().err


def test_the_make_target_runs_the_check() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shown = subprocess.run(
        ["make", "-n", "gpu-check", "PYTHON=some/python", "GPU_RESULTS=out"],
        cwd=ROOT, env=own_environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout.splitlines()[-1] == "some/python -m tests.gpu --results out"


class NoDevice(IntEnum):
    CUDA_ERROR_NO_DEVICE = 100


class NoGpu:
    """A driver that finds no device."""

    def cuInit(self, flags: int) -> tuple[Any]:
        return (NoDevice.CUDA_ERROR_NO_DEVICE,)


class NoLibrary:
    """How cuda-bindings behave where there is no libcuda."""

    def cuInit(self, flags: int) -> tuple[Any]:
        raise RuntimeError("libcuda.so.1 was not found")


def test_a_machine_without_a_driver_is_named_as_such() -> None:
    with pytest.raises(BackendError, match=r"no CUDA GPU here .*libcuda\.so\.1 was not found.*nvidia-smi"):
        environment.probe(NoLibrary())
    with pytest.raises(BackendError, match=r"no CUDA GPU here .*CUDA_ERROR_NO_DEVICE"):
        environment.probe(NoGpu())


@pytest.mark.parametrize("error", [PermissionError(), subprocess.TimeoutExpired("nvidia-smi", 20)])
def test_a_driver_that_does_not_tell_its_release_is_unknown(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(environment.shutil, "which", lambda program: "/bin/nvidia-smi")
    monkeypatch.setattr(environment.subprocess, "run", refuse)
    monkeypatch.setattr(environment.Path, "read_text", lambda path: refuse())
    if isinstance(error, OSError):
        assert environment._driver_release() == "unknown"
    else:
        monkeypatch.setattr(environment.Path, "read_text", lambda path: "NVRM version: 580.159.04 built")
        assert environment._driver_release() == "580.159.04"


@pytest.mark.parametrize(
    ("capability", "architecture"), [("9.0", "9.0"), ("8.9", "8.9"), ("8.8", "8.7"), ("12.1", "12.0"), ("8.0", "8.0")]
)
def test_code_for_a_device_is_its_own_or_the_next_older(capability: str, architecture: str) -> None:
    assert environment._architecture_for(capability) == architecture


def test_a_device_without_kernels_is_refused() -> None:
    with pytest.raises(BackendError, match=r"SM 7\.5"):
        environment._architecture_for("7.5")


def test_kernels_come_from_a_compiler_that_the_driver_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def compile_kernels(architecture: str, cuda: int) -> str:
        asked.append(cuda)
        if cuda == 13:
            raise BackendError("no NVRTC of CUDA 13")
        return f"{architecture} by {cuda}"

    monkeypatch.setattr(environment, "compile_kernels", compile_kernels)
    here = environment.Environment("device", "9.0", "13.0", "580", 1.0, 1.0, 1)
    assert environment.cubin_for(here) == "9.0 by 12"
    assert asked == [13, 12]
    asked.clear()
    old = environment.Environment("device", "9.0", "12.6", "560", 1.0, 1.0, 1)
    assert environment.cubin_for(old) == "9.0 by 12"
    assert asked == [12]


def test_what_is_missing_is_named_by_its_package() -> None:
    assert missing({"pytest": "pytest"}) == []
    assert missing({"pytest": "pytest", "no_such.module": "no-such-package"}) == ["no-such-package"]
