"""Each command does its job: for people on a terminal, for pipes, and as JSON for programs."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from PIL import Image

import clasp_trt
from clasp_trt.bundle import Bundle
from clasp_trt.engines.tensorrt.library import Library
from clasp_trt.runtime.overlay import MEDOID, PIVOT
from clasp_trt.targets import TARGETS
from tests.cli.conftest import Clasp, Refused
from tests.commands import GROUP, check_line, command_names
from tests.house import PYPROJECT
from tests.mistakes import says
from tests.runtime.backends.cuda.null_driver import NullCuda

# What a device lacks that only runs and completes bundles.
EXPORT_ONLY = ("torch", "transformers", "safetensors", "huggingface_hub", "onnxscript")


def facts(clasp: Clasp, *line: str | Path) -> object:
    """The JSON document that a command prints, and nothing else beside it."""
    done = clasp(*line, "--json")
    assert (done.code, done.err) == (0, "")
    return json.loads(done.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, by the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


def test_every_command_speaks_json() -> None:
    found = dict(leaves(GROUP))
    assert {("build",), ("router", "label"), ("router", "import")} <= found.keys()
    for words, command in found.items():
        if words != ("serve",):  # which answers in JSON, by HTTP
            assert any("--json" in parameter.opts for parameter in command.params), words


def test_every_command_shows_lines_that_can_be_run() -> None:
    for words, command in leaves(GROUP):
        context = click.Context(command, info_name=f"clasp-trt {' '.join(words)}")
        _, _, shown = command.get_help(context).partition("Examples:\n")
        lines = [shlex.split(line) for line in shown.splitlines()]
        assert lines, words
        for program, *line in lines:
            assert (program, tuple(line[: len(words)])) == ("clasp-trt", words)
            check_line(line)


def test_every_option_says_what_it_is() -> None:
    for words, command in leaves(GROUP):
        unsaid = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
        assert unsaid == [], words


def test_version_and_bare_help(clasp: Clasp) -> None:
    assert clasp("--version").out == f"clasp-trt {clasp_trt.__version__}\n"
    for line in ([], ["--help"], ["-h"]):
        done = clasp(*line)
        assert (done.code, done.err) == (0, "")
        assert [name for name in command_names() if f"\n  {name} " in done.out] == command_names()


def test_build_tells_what_it_made(clasp: Clasp, checkpoint: Path, tmp_path: Path) -> None:
    done = clasp("build", checkpoint, "-o", tmp_path / "out", "--budget", "8", "--max-context", "64")
    assert (done.code, done.err) == (0, "")  # no progress bar in a pipe
    assert done.out.startswith(f"{tmp_path}/out: tiny (llava), fp32, onnxruntime on cpu, ")
    assert "reads vision layers 2, 3 (uncalibrated prior)\n" in done.out
    assert "(mean 8.0 visual tokens over 4 layers, solved)\n" in done.out
    assert done.out.splitlines()[-1].startswith(f"next: clasp-trt run {tmp_path}/out --image")
    assert Bundle.open(tmp_path / "out", verify=True).manifest.max_context == 64


def test_sources_that_disagree_are_told_in_one_line(clasp: Clasp, checkpoint: Path, tmp_path: Path) -> None:
    model = shutil.copytree(checkpoint, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "eos_token_id": 7}))
    done = clasp("build", model, "-o", tmp_path / "bundle", "--prune-at", "none")
    assert done.code == 0
    (line,) = done.err.splitlines()
    says(line, "warning:", "generation_config.json", "config.json", "eos_token_id")


def test_a_model_of_a_hub_s_cache_keeps_its_name_and_commit(clasp: Clasp, checkpoint: Path, tmp_path: Path) -> None:
    commit = "0123456789abcdef" * 2 + "01234567"
    snapshot = tmp_path / "models--llava-hf--llava-tiny" / "snapshots" / commit
    shutil.copytree(checkpoint, snapshot)
    done = clasp("build", snapshot, "-o", tmp_path / "bundle", "--prune-at", "none", "--json")
    model = json.loads(done.out)["manifest"]["model"]
    assert model["name"] == "llava-tiny"
    assert model["source"] == {"repository": "llava-hf/llava-tiny", "revision": None, "commit": commit}
    assert f"source     llava-hf/llava-tiny, commit {commit}" in clasp("inspect", tmp_path / "bundle").out.splitlines()


def test_a_revision_is_for_a_hub_id(refused: Refused, checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    for model in (checkpoint, bundle):
        says(refused("build", model, "--revision", "v1", "-o", tmp_path / "out"), "--revision", "v1", model)


def test_export_then_build_elsewhere(clasp: Clasp, checkpoint: Path, tmp_path: Path) -> None:
    made = facts(clasp, "export", checkpoint, "-o", tmp_path / "graphs", "--prune-at", "encoder", "--budget", "4")
    assert isinstance(made, dict)
    assert made["manifest"]["target"] == made["manifest"]["backend"] == "portable"
    assert made["mean_visual_tokens"] == 4
    done = clasp("build", tmp_path / "graphs", "-o", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert Bundle.open(tmp_path / "out").manifest.target == "cpu"


def test_next_step_can_be_pasted(clasp: Clasp, checkpoint: Path, tmp_path: Path) -> None:
    made = tmp_path / "my $graphs"
    hint = clasp("export", checkpoint, "-o", made, "--budget", "8").out.splitlines()[-1]
    line = shlex.split(hint.removeprefix("next, on the device: clasp-trt "))
    check_line(line)
    words = {"BUNDLE": str(tmp_path / "it's"), "TARGET": "cpu"}  # the one whose default backend builds anywhere
    done = clasp(*(words.get(word, word) for word in line))
    assert done.code == 0, done.err
    line = shlex.split(done.out.splitlines()[-1].removeprefix("next: clasp-trt "))
    assert line[:2] == ["run", str(tmp_path / "it's")]


@pytest.mark.full
def test_portable_bundle_is_completed_and_run_without_torch(
    portable: Path, photo: Path, shell: dict[str, str], tmp_path: Path
) -> None:
    block = f"import sys; sys.modules.update(dict.fromkeys({EXPORT_ONLY!r}))\nfrom clasp_trt.cli import main; main()"
    for line in (
        ["build", portable, "-o", tmp_path / "out", "--target", "orin-agx-64", "--backend", "onnxruntime"],
        ["run", tmp_path / "out", "--image", photo, "--prompt", "How many?", "--max-new-tokens", "2"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", block, *line], env=shell, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    manifest = Bundle.open(tmp_path / "out", verify=True).manifest
    assert (manifest.target, manifest.backend) == ("orin-agx-64", "onnxruntime")
    assert manifest.opset == 23  # JetPack 6 has ONNX Runtime 1.23, which reads no more


def test_inspect(clasp: Clasp, bundle: Path) -> None:
    plain = clasp("inspect", bundle).out
    assert "pruning    16 -> 7 after layer 0 -> 5 after layer 1 -> 4 after layer 2 (mean 8.0 visual tokens" in plain
    assert "(uncalibrated prior)" in plain
    assert ", context 96 with an image, 84 for text alone\n" in plain  # of 16 visual tokens the last stage keeps 4
    assert "\nrouter     ngram" in plain
    assert clasp("inspect", bundle, "--verify").out == plain
    graphs = clasp("inspect", bundle, "--graphs").out
    assert "\nvision  (graphs/vision.onnx)\n  in  pixel_values: float32[batch, 3, 56, 56]\n" in graphs
    told = facts(clasp, "inspect", bundle)
    assert isinstance(told, dict)
    assert told["mean_visual_tokens"] == 8
    assert told["text_context"] == 84
    assert told["policy"]["calibrated"] is False
    assert told["policy"]["unreached"] == []
    assert told["manifest"] == json.loads((bundle / "clasp.json").read_text())


def test_inspect_of_an_unpruned_bundle_has_one_context(clasp: Clasp, built: Callable[..., Bundle]) -> None:
    assert ", context 96\n" in clasp("inspect", built(prune_at="none").root).out


def test_inspect_names_categories_that_no_rule_reaches(
    clasp: Clasp, built: Callable[..., Bundle], bundle: Path, tmp_path: Path
) -> None:
    policy = json.loads((bundle / "policy.json").read_text())
    policy["categories"][0]["name"] = "defects"
    (tmp_path / "mine.json").write_text(json.dumps(policy))
    made = built(target=None, policy=str(tmp_path / "mine.json")).root
    assert "\nrouter     reaches no 'defects'; name it with run --category\n" in clasp("inspect", made).out
    told = facts(clasp, "inspect", made)
    assert isinstance(told, dict)
    assert told["policy"]["unreached"] == ["defects"]
    route = clasp("route", "--prompt", "What animal is this?", "--policy", made / "policy.json").out
    assert route.startswith("default (id 8)")
    assert "the policy has no category 'object identification'" in route


def test_run_answers_and_states_facts(clasp: Clasp, bundle: Path, photo: Path) -> None:
    line = ("run", bundle, "--image", photo, "--prompt", "How many cups are there?", "--max-new-tokens", "6")
    done = clasp(*line)
    assert done.code == 0
    assert done.out.strip()
    assert done.out.endswith("\n")
    assert done.err.startswith("[counting] 16 visual tokens -> 7 -> 5 -> 4 | TTFT ")
    assert done.err.count("\n") == 1
    told = facts(clasp, *line)
    assert isinstance(told, dict)
    assert told["text"] + "\n" == done.out
    assert (told["category"], told["generated_tokens"], told["finish_reason"]) == ("counting", 6, "length")
    assert [(len(stage["indices"]), stage["after_layer"]) for stage in told["kept"]] == [(7, 0), (5, 1), (4, 2)]
    assert [sum(stage["is_pivot"]) for stage in told["kept"]] == [4, 3, 2]  # floor(0.6 R), Table 6


def test_run_without_an_image(clasp: Clasp, bundle: Path) -> None:
    done = clasp("run", bundle, "--prompt", "hello", "--max-new-tokens", "1")
    assert done.code == 0
    assert "] text alone | TTFT " in done.err


def test_answer_is_printed_as_it_is_made(
    clasp: Clasp, bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    class Failing:
        """An answer that notes what is on the screen before each piece, and then breaks off."""

        def __iter__(self):  # type: ignore[no-untyped-def]
            for piece in ("one", " two"):
                yield piece
                seen.append(capfd.readouterr().out)
            raise clasp_trt.errors.BackendError("out of breath")

    monkeypatch.setattr("clasp_trt.runtime.pipeline.load", lambda *_, **__: nullcontext(SimpleNamespace(stream=stream)))

    def stream(*_: object, **__: object) -> Failing:
        return Failing()

    done = clasp("run", bundle, "--prompt", "hello")
    assert seen == ["one", " two"]
    assert (done.code, done.out, done.err) == (2, "\n", "error: out of breath\n")


def test_run_shows_what_was_kept(clasp: Clasp, bundle: Path, photo: Path, tmp_path: Path) -> None:
    picture = tmp_path / "kept.png"
    line = ("run", bundle, "--image", photo, "--prompt", "How many cups?", "--max-new-tokens", "1", "--show", picture)
    assert clasp(*line).code == 0
    colours = {colour for _, colour in Image.open(picture).getcolors(1 << 24) or []}
    assert {PIVOT, MEDOID} <= colours
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.png"]


def test_targets(clasp: Clasp) -> None:
    lines = clasp("targets").out.splitlines()
    assert [line.split()[0] for line in lines] == ["TARGET", *TARGETS]
    assert lines[1].startswith("orin-agx-64  Jetson AGX Orin 64GB")
    told = facts(clasp, "targets")
    assert isinstance(told, list)
    assert {row["name"]: row["backend"] for row in told} == {name: t.backend for name, t in TARGETS.items()}
    opset = {row["name"]: row["opset"] for row in told}
    assert opset["orin-agx-64"] == {"tensorrt": 24, "onnxruntime": 23}
    assert opset["cpu"] == {"onnxruntime": 24}


@pytest.fixture
def requirements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What an installation's metadata holds, which differs from the project file only in spelling."""
    project = PYPROJECT["project"]
    stated = list(project["dependencies"])
    for extra, needs in project["optional-dependencies"].items():
        stated += [f'{need}{" and" if ";" in need else ";"} extra == "{extra}"' for need in needs]
    monkeypatch.setattr(metadata, "requires", lambda name: stated if name == "clasp-trt" else None)
    return stated


@pytest.mark.usefixtures("requirements")
def test_doctor(clasp: Clasp) -> None:
    told = facts(clasp, "doctor")
    assert isinstance(told, dict)
    assert told["usable_cores"] == len(os.sched_getaffinity(0))
    assert told["memory_bytes"] > 2**28
    assert told["onnxruntime"]["loads"] is True
    assert told["onnxruntime"]["reads_opset"] in (23, 24)
    assert told["can"]["answer with bundles (run)"] is True
    assert told["can"]["run engines"] is False
    assert {"build engines (tensorrt)", "build engines (tensorrt-rtx)"} <= told["can"].keys()
    assert {"click", "numpy", "onnx", "onnx-ir", "torch"} <= told["packages"].keys()
    assert not {"pytest", "mypy", "hypothesis"} & told["packages"].keys(), "of no job"
    assert {"polygraphy", "matplotlib"} <= told["packages"].keys(), "of profile"
    done = clasp("doctor")
    assert (done.code, done.err) == (0, "")
    assert "loads, reads opset" in done.out
    assert "yes  answer with bundles (run)\n" in done.out


def test_doctor_on_a_device_names_its_gpu_and_its_builder(clasp: Clasp, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library("tensorrt", None, "10.3.0")
    monkeypatch.setattr("clasp_trt.engines.tensorrt.library.load", lambda backend: library)
    monkeypatch.setattr("clasp_trt.engines.tensorrt.device.compute_capability", lambda: "8.7")
    monkeypatch.setattr("clasp_trt.plugins.load_driver", lambda: NullCuda(sm="8.7"))
    out = clasp("doctor").out
    assert "yes  build engines (tensorrt): tensorrt 10.3.0\n" in out
    assert out.endswith("yes  run engines: Null GPU, SM 8.7\n")
    told = facts(clasp, "doctor")
    assert isinstance(told, dict)
    assert (told["builders"]["tensorrt"], told["gpu"]) == ("tensorrt 10.3.0", "Null GPU, SM 8.7")
    monkeypatch.setattr("clasp_trt.engines.tensorrt.device.compute_capability", lambda: None)
    assert "no   build engines (tensorrt): tensorrt 10.3.0 is here, but no CUDA GPU" in clasp("doctor").out


def versions(monkeypatch: pytest.MonkeyPatch, **named: str | None) -> None:
    """Distributions that seem to be of another version, or not to be there."""
    real: Callable[[str], str] = metadata.version

    def version(name: str) -> str:
        key = name.replace("-", "_")
        found = named[key] if key in named else real(name)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)


@pytest.mark.usefixtures("requirements")
def test_doctor_finds_what_is_wrong(clasp: Clasp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    versions(monkeypatch, torch=None)
    done = clasp("doctor")
    assert done.code == 0
    assert "does not load: import of onnxruntime halted" in done.out
    assert "no   answer with bundles (run): onnxruntime does not load; pip install" in done.out
    assert "no   compile checkpoints (build, export): torch missing; pip install 'clasp-trt[export]'\n" in done.out


@pytest.mark.usefixtures("requirements")
def test_doctor_and_compiler_ask_for_the_same(clasp: Clasp, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, onnx=None, onnx_ir="0.1.9.dev1", torch="2.10.0+cpu", numpy="2")
    out = clasp("doctor").out
    remedy = "onnx missing, onnx-ir 0.1.9.dev1 older than 0.1.12; pip install 'clasp-trt[build]'\n"
    assert f"no   complete portable bundles (build BUNDLE): {remedy}" in out
    assert "torch 2.10.0+cpu older" not in out
    assert "yes  answer with bundles (run)\n" in out


def test_doctor_who_knows_no_requirements_says_so(clasp: Clasp, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Sequence[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert "?    answer with bundles (run): cannot tell, since clasp-trt itself is not installed" in clasp("doctor").out
    told = facts(clasp, "doctor")
    assert isinstance(told, dict)
    assert told["can"]["answer with bundles (run)"] is None


def terminal(line: list[str | Path], env: dict[str, str]) -> tuple[int, str, str]:
    """Exit code, standard output, and what a terminal on standard error was sent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "clasp_trt", *line], env=env, text=True, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    sent = b""
    try:
        while part := os.read(ours, 4096):
            sent += part
    except OSError:  # Linux says EIO when the other side has closed
        pass
    os.close(ours)
    out, _ = process.communicate()
    return process.returncode, out, sent.decode()


@pytest.mark.full
def test_progress_is_drawn_on_a_terminal_and_taken_back(portable: Path, shell: dict[str, str], tmp_path: Path) -> None:
    line: list[str | Path] = ["build", portable, "-o", tmp_path / "out", "--force"]
    code, out, sent = terminal(line, {**shell, "TERM": "xterm", "COLUMNS": "60"})
    assert (code, out.count("\nnext: ")) == (0, 1)
    drawn = sent.split("\r\x1b[K")
    assert drawn[0] == drawn[-1] == ""  # it begins at the left and ends on an empty line
    assert any("100%  compile greedy" in frame for frame in drawn)
    assert all(len(frame) < 60 for frame in drawn)
    assert "\n" not in sent
    assert terminal(line, {**shell, "TERM": "dumb"})[::2] == (0, "")


@pytest.mark.parametrize("command", ["run", "show", "eval", "profile"])
def test_a_provider_that_is_not_here(
    refused: Refused, bundle: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    data = tmp_path / "D.jsonl"
    data.write_text(json.dumps({"image": str(photo), "prompt": "How many?", "answer": "two"}) + "\n")
    words: dict[str, tuple[str | Path, ...]] = {
        "run": ("--image", photo, "--prompt", "How many?"),
        "show": ("--image", photo, "--prompt", "How many?", "-o", tmp_path / "kept.png"),
        "eval": ("--data", data),
        "profile": ("--image", photo, "--prompt", "How many?"),
    }
    told = refused(command, bundle, *words[command], "--provider", "cuda")
    assert "has no CUDAExecutionProvider; put onnxruntime-gpu in its place" in told
