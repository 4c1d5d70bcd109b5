"""Commands on a bundle of engines: what a user types, on a null device."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from clasp_trt.bundle import Bundle
from clasp_trt.runtime.backends.cuda import backend
from tests.commands import GROUP
from tests.runtime.backends.cuda.conftest import VERSION
from tests.runtime.backends.cuda.null_driver import NullCuda
from tests.runtime.backends.cuda.null_tensorrt import NullTensorRT

pytestmark = pytest.mark.full  # CUDA on a null device


@pytest.fixture
def machine(compiled: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> Iterator[NullCuda]:
    """A machine with a null GPU, to which every command gives everything back."""
    cuda = NullCuda()
    monkeypatch.setattr(backend, "load_library", lambda name: NullTensorRT(cuda, compiled(), VERSION))
    monkeypatch.setattr(backend, "load_driver", lambda: cuda)
    yield cuda
    assert cuda.left() == []
    assert cuda.log.allocations, "the command did not use it"


def _json(*words: str | Path) -> dict[str, object]:
    done = CliRunner().invoke(GROUP, [*map(str, words), "--json"], prog_name="clasp-trt")
    assert done.exit_code == 0, done.output
    told: dict[str, object] = json.loads(done.stdout)
    return told


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("command", ["run", "show"])
def test_answers_and_pictures(
    compiled: Callable[..., Bundle], photos: dict[str, Path], tmp_path: Path, command: str
) -> None:
    words = [command, compiled().root, "--image", photos["coffee"], "--prompt", "How many cups are there?"]
    words += ["-o", tmp_path / "kept.png"] if command == "show" else ["--max-new-tokens", "4"]
    here, there = _json(*words), _json(*words, "--provider", "cpu")
    for key in ("text", "category", "kept", "finish_reason"):
        assert here.get(key) == there.get(key)


@pytest.mark.usefixtures("machine")
def test_accuracy(compiled: Callable[..., Bundle], photos: dict[str, Path], tmp_path: Path) -> None:
    data = tmp_path / "D.jsonl"
    rows = [{"image": str(photos[name]), "prompt": "How many?", "answer": "two"} for name in ("coffee", "chelsea")]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = _json("eval", compiled().root, "--data", data, "--method", "clasp", "--method", "fastv")
    assert list(told["methods"]) == ["clasp", "fastv"]  # type: ignore[call-overload]


@pytest.mark.usefixtures("machine")
def test_integrity(compiled: Callable[..., Bundle]) -> None:
    told = _json("verify", compiled().root)
    assert told["integrity"]["skipped"] == []  # type: ignore[index]


@pytest.mark.usefixtures("machine")
def test_every_stage_against_the_checkpoint(compiled: Callable[..., Bundle], checkpoint: Path) -> None:
    pytest.importorskip("polygraphy")
    told = _json("verify", compiled().root, "--against", checkpoint)
    assert told["parity"]["first_drift"] is None  # type: ignore[index]


def test_the_graphs_of_engines_are_compared_without_their_gpu(
    compiled: Callable[..., Bundle], checkpoint: Path
) -> None:
    pytest.importorskip("polygraphy")
    told = _json("verify", compiled().root, "--against", checkpoint, "--provider", "cpu")
    assert told["integrity"]["skipped"] == []  # type: ignore[index]
    assert told["parity"]["first_drift"] is None  # type: ignore[index]


def test_a_provider_that_is_not_here_is_refused(
    compiled: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    done = CliRunner().invoke(GROUP, ["verify", str(compiled().root), "--provider", "cuda"], prog_name="clasp-trt")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "has no CUDAExecutionProvider" in done.stderr
