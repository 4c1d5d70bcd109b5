"""The compiler's own decisions: what is asked for, what is refused, and what a portable bundle becomes."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

import clasp_trt
from clasp_trt import targets
from clasp_trt.build_memory import peak
from clasp_trt.bundle import Bundle
from clasp_trt.engines.tensorrt.library import Library
from clasp_trt.errors import (
    BackendError,
    BundleError,
    CheckpointError,
    OutputError,
    PolicyError,
    ScheduleError,
    TargetError,
)
from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.tools.build.compiler import DEFAULT_CONTEXT, EngineOptions, Options, Pruning, build
from tests.commands import GROUP
from tests.mistakes import says
from tests.oneslot import one_slot


def test_the_function_mirrors_the_command() -> None:
    command = GROUP.get_command(click.Context(GROUP), "build")
    assert command is not None
    asked = {parameter.name: parameter.default for parameter in command.params if parameter.name != "as_json"}
    taken = inspect.signature(clasp_trt.build).parameters
    assert set(asked) == set(taken) - {"progress"}
    for name in ("target", "prune_at", "precision"):
        assert asked[name] == taken[name].default
    assert asked["precision"] is asked["prune_at"] is None, "a default would look as if it were given"


@pytest.mark.parametrize(
    ("pruning", "mean", "keeps", "source"),
    [
        (Pruning(), 192, (300, 200, 110), "published"),
        (Pruning(budget=64), 64, (66, 30, 17), "published"),
        (Pruning(keeps=(9, 8, 7)), None, (9, 8, 7), "given"),
        (Pruning(keeps=(9,), prune_layers=(4,)), None, (9,), "given"),
        (Pruning("encoder"), 192, (192,), "encoder"),
        (Pruning("none"), None, (), "none"),
    ],
)
def test_pruning(pruning: Pruning, mean: int | None, keeps: tuple[int, ...], source: str) -> None:
    schedule = pruning.schedule(576, 32)
    assert pruning.mean(576) == mean
    assert (schedule.keeps, schedule.source) == (keeps, source)


@pytest.mark.parametrize(
    ("at", "budget", "keeps", "layers"),
    [
        ("middle", None, None, None),
        ("decoder", 8, (3, 2, 1), None),
        ("none", 8, None, None),
        ("none", None, (3,), None),
        ("none", None, None, (1,)),
        ("encoder", None, (3,), None),
        ("encoder", 8, None, (1,)),
        ("decoder", None, (), None),
        ("decoder", None, (3, 3), None),
        ("decoder", None, (3, 0), None),
    ],
)
def test_contradictions_are_refused_whatever_the_model(
    at: str, budget: int | None, keeps: tuple[int, ...] | None, layers: tuple[int, ...] | None
) -> None:
    with pytest.raises(ScheduleError):
        Pruning(at, budget, keeps, layers)


def test_least_that_any_model_could_follow_is_not_refused() -> None:
    Pruning(keeps=(100_000, 1))


def test_missing_budget_is_named_where_a_third_cannot_be() -> None:
    with pytest.raises(ScheduleError, match=r"--budget.*third.*\b5\b"):
        Pruning().schedule(16, 4)
    with pytest.raises(ScheduleError, match=r"^budget: 5\b"):
        Pruning(budget=5).schedule(16, 4)


def test_unknown_words(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="'fp8'"):
        Options(precision="fp8")
    with pytest.raises(TargetError, match="'onnx'"):
        build("model", tmp_path / "out", backend="onnx")
    with pytest.raises(OutputError, match="empty"):
        build("model", "")
    with pytest.raises(TargetError, match=r"--sm 9\.9\b.*tensorrt-rtx.*\b7\.5\b"):
        build("model", tmp_path / "out", target="rtx4090", sm="9.9")  # one capability, not its characters


def test_manifest_states_what_was_asked(built: Callable[..., Bundle]) -> None:
    manifest = built().manifest
    assert (manifest.budget, manifest.prune_at, manifest.precision) == (8, "decoder", "fp32")
    assert {"clasp-trt", "python", "torch", "transformers", "onnx", "onnxruntime"} <= manifest.versions.keys()
    whole = built(prune_at="none").manifest
    assert (whole.budget, whole.schedule.stages) == (None, ())


def test_prior_reads_shallow_layers_only_where_it_prunes(built: Callable[..., Bundle]) -> None:
    assert built().policy.layers == (2, 3)  # half way up the tower of 4, and the layer it was trained to read
    assert built(prune_at="none").policy.layers == (3,)
    assert not built().policy.calibrated


def test_policy_file_goes_into_the_bundle(built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path) -> None:
    policy = {
        "schema": 1,
        "tau": 2.0,
        "layers": [1, 4],
        "threshold": 0.25,
        "categories": [{"name": name, "scores": [0.5, 1.0], "ratio": 0.5} for name in CATEGORY_NAMES],
        "provenance": {"kind": "user"},
    }
    (tmp_path / "mine.json").write_text(json.dumps(policy))
    made = build(checkpoint, tmp_path / "out", budget=8, policy=tmp_path / "mine.json", target=None)
    assert made.policy.to_json() == policy
    assert made.manifest.max_context == DEFAULT_CONTEXT
    policy["layers"] = [1, 5]
    (tmp_path / "mine.json").write_text(json.dumps(policy))
    with pytest.raises(PolicyError, match=r"layer 5\b.*\b0 to 4\b"):
        build(checkpoint, tmp_path / "out", budget=8, policy=tmp_path / "mine.json", force=True)
    assert Bundle.open(tmp_path / "out", verify=True).policy.layers == (1, 4)


def test_portable_bundle_becomes_one_for_a_target(built: Callable[..., Bundle], tmp_path: Path) -> None:
    portable = built(target=None)
    heard: list[tuple[str, int, int]] = []
    made = build(portable.root, tmp_path / "out", progress=lambda *step: heard.append(step))
    assert (made.manifest.target, made.manifest.backend) == ("cpu", "onnxruntime")
    assert made.manifest.versions.items() > portable.manifest.versions.items()
    assert made.policy == portable.policy
    assert {phase.split()[0] for phase, _, _ in heard} == {"check", "compile", "verify"}
    assert all(0 <= done <= total for _, done, total in heard)
    compiled = [(done, total) for phase, done, total in heard if phase.startswith("compile")]
    graphs = len(made.manifest.graphs)
    assert compiled == [(number, graphs) for number in range(1, graphs + 1)]
    assert heard[-1][1] == heard[-1][2] > 0
    portable.verify()


def test_engine_options_of_a_portable_bundle(built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path) -> None:
    assert len(built(target=None, prune_at="none", max_build_memory=peak(225_000) / 1e9).manifest.segments) == 3
    for option in ({"sm": ("8.9",)}, {"max_prompt": 40}, {"cache": False}):
        with pytest.raises(BackendError, match=r"portable.*engines"):
            build(checkpoint, tmp_path / "out", target=None, **option)  # type: ignore[arg-type]


def test_a_bundle_of_a_target_is_built_no_further(built: Callable[..., Bundle], tmp_path: Path) -> None:
    with pytest.raises(BundleError) as error:
        build(built().root, tmp_path / "again")
    says(error, "cpu")


@pytest.mark.parametrize(
    "option",
    [
        {"budget": 4},
        {"schedule": (3, 2, 1)},
        {"prune_at": "none"},
        {"prune_at": "decoder"},
        {"precision": "fp16"},
        {"precision": "fp32"},
        {"max_context": 64},
        {"policy": "mine.json"},
    ],
)
def test_bundle_fixes_what_it_was_made_with(
    built: Callable[..., Bundle], tmp_path: Path, option: dict[str, object]
) -> None:
    with pytest.raises(BundleError, match=r"pruning.*precision.*policy.*context"):
        build(built(target=None).root, tmp_path / "out", **option)  # type: ignore[arg-type]


def test_targets_without_their_own_backend_yet(built: Callable[..., Bundle], tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"--backend onnxruntime.*\bthor\b"):
        build(built(target=None).root, tmp_path / "out", target="thor")
    made = build(built(target=None).root, tmp_path / "out", target="thor", backend="onnxruntime")
    assert made.manifest.target == "thor"


@pytest.mark.parametrize(("target", "cuda"), [("orin-agx-64", 12), ("rtx4090", None)])
def test_kernels_are_for_the_cuda_of_the_device_and_compiled_before_the_work(
    built: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, cuda: int | None
) -> None:
    device, asked = targets.get(target), list[object]()

    def missing(sms: tuple[str, ...], major: int | None) -> None:
        asked.append((sms, major))
        raise BackendError("NVRTC is not here; pip install it")

    library = Library(device.backend, None, "11.4.1")
    monkeypatch.setattr("clasp_trt.engines.tensorrt.place.check", lambda *_, **__: library)
    monkeypatch.setattr("clasp_trt.engines.tensorrt.programs.assembler", missing)
    monkeypatch.setattr("clasp_trt.engines.tensorrt.device.cuda_major", lambda: 12)
    monkeypatch.setattr("clasp_trt.bundle.Bundle.open", lambda *_: pytest.fail("the bundle was opened"))
    phases: list[str] = []
    with pytest.raises(BackendError, match="NVRTC"):
        build(
            built(target=None).root, tmp_path / "out", target=target, plugins=True,
            progress=lambda phase, done, total: phases.append(phase),
        )  # fmt: skip
    assert asked == [((device.sm,), cuda)]
    assert phases == ["compile the kernels"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("images", [1, 2])
def test_plugins_for_more_tokens_than_the_kernels_take_are_refused(
    built: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    several: dict[str, Any] = {"max_images": images, "budget": "1/3", "max_context": 160}
    source = built(target=None, **(several if images > 1 else {}))
    library = Library("tensorrt-rtx", None, "1.7")
    monkeypatch.setattr("clasp_trt.engines.tensorrt.place.check", lambda *_, **__: library)
    monkeypatch.setattr("clasp_trt.engines.tensorrt.programs.assembler", lambda *_: None)
    most = source.manifest.schedule.tokens - 1
    monkeypatch.setattr("clasp_trt.plugins.launch.MAX_TOKENS", most)
    with pytest.raises(BackendError) as error:
        build(source.root, tmp_path / "out", target="rtx4090", plugins=True)
    says(error, "--plugins", most, most + 1, "drop it")
    assert ("--max-images" in str(error.value)) == (images > 1), "of one picture of a fixed size there are no fewer"
    assert list(tmp_path.iterdir()) == []


def test_plugins_are_kernels_of_one_method(built: Callable[..., Bundle], tmp_path: Path) -> None:
    source = built(target=None, method="fastv")
    with pytest.raises(BackendError) as error:
        build(source.root, tmp_path / "out", target="rtx4090", plugins=True)
    says(error, "--plugins", "--method", "fastv")


@pytest.mark.parametrize("portable", [True, False])
def test_plugins_without_a_stage_to_select_are_refused(
    built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portable: bool
) -> None:
    model = built(target=None, prune_at="none").root if portable else checkpoint
    library = Library("tensorrt-rtx", None, "1.7")
    monkeypatch.setattr("clasp_trt.engines.tensorrt.place.check", lambda *_, **__: library)
    monkeypatch.setattr("clasp_trt.engines.tensorrt.programs.assembler", lambda *_: None)
    monkeypatch.setattr("clasp_trt.export.exporter.save", lambda *_: pytest.fail("a graph was exported"))
    with pytest.raises(BackendError, match=r"--plugins.*pruned"):
        build(
            model, tmp_path / "out", target="rtx4090", plugins=True, max_context=None if portable else 96,
            prune_at=None if portable else "none",
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_weights_that_a_device_cannot_hold_are_refused_before_the_work(
    built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    portable = built(target=None)
    stored = (checkpoint / "model.safetensors").stat().st_size
    monkeypatch.setattr("clasp_trt.export.exporter.save", lambda *_: pytest.fail("a graph was exported"))
    monkeypatch.setattr("clasp_trt.bundle.Bundle.verify", lambda *_: pytest.fail("the bundle was read"))
    for room, model in ((stored * 0.9, checkpoint), (stored * 0.4, portable.root)):
        nano = replace(targets.get("orin-nano-8"), memory_gb=room / 2**30)
        monkeypatch.setattr(targets, "TARGETS", {**targets.TARGETS, nano.name: nano})
        with pytest.raises(TargetError, match=r"GB of orin-nano-8"):
            build(model, tmp_path / "out", target=nano.name, backend="onnxruntime")
    assert list(tmp_path.iterdir()) == []


def _rewrite(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "change", "line"),
    [
        (
            "preprocessor_config.json",
            lambda config: config.update(size={"shortest_edge": 32}, crop_size=32),
            r"the preprocessor_config.json of .* pictures of 32x32 pixels, but the vision tower takes 56x56",
        ),
        (
            "preprocessor_config.json",
            lambda config: config.update(do_center_crop=False),
            r"the preprocessor_config.json of .* cannot be used: do_center_crop is False; expected true",
        ),
        (
            "preprocessor_config.json",
            lambda config: config.update(image_processor_type="Qwen2VLImageProcessor"),
            r"the preprocessor_config.json of .* cannot be used: image_processor_type is 'Qwen2VLImageProcessor'",
        ),
        (
            "tokenizer.json",
            lambda config: config["model"].update(type="Clay"),
            r"the tokenizer of .* cannot be loaded",
        ),
    ],
)
def test_checkpoint_whose_files_cannot_work_makes_no_bundle(
    checkpoint: Path, tmp_path: Path, file: str, change: Callable[[Any], object], line: str
) -> None:
    copied = Path(shutil.copytree(checkpoint, tmp_path / "copied"))
    _rewrite(copied / file, change)
    with pytest.raises(CheckpointError, match=line):
        build(copied, tmp_path / "out", budget=8, target=None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["copied"]


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("{% for message in messages %}", "the chat template is broken: TemplateSyntaxError"),
        ("{{ raise_exception('no system turn') }}", "the chat template failed"),
        ("{{ messages[0]['content'][-1]['text'] }}", "the chat template wrote <image> 0 times for 1 image"),
    ],
)
def test_chat_template_that_cannot_work_makes_no_bundle(
    checkpoint: Path, tmp_path: Path, template: str, line: str
) -> None:
    copied = Path(shutil.copytree(checkpoint, tmp_path / "copied"))
    (copied / "chat_template.jinja").write_text(template)
    with pytest.raises(CheckpointError, match=f"chat template of .*copied.*{line}"):
        build(copied, tmp_path / "out", budget=8, target=None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["copied"]


@pytest.mark.parametrize("portable", [False, True])
def test_engines_that_take_more_memory_than_there_is_are_refused_before_the_work(
    built: Callable[..., Bundle], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portable: bool
) -> None:
    model = built(target=None, prune_at="none").root if portable else checkpoint
    library = Library("tensorrt-rtx", None, "1.7")
    monkeypatch.setattr("clasp_trt.engines.tensorrt.place.check", lambda *_, **__: library)
    monkeypatch.setattr("clasp_trt.engines.tensorrt.memory.available", lambda: peak(225_000))
    monkeypatch.setattr("clasp_trt.export.exporter.save", lambda *_: pytest.fail("a graph was written"))
    monkeypatch.setattr("clasp_trt.bundle.Bundle.verify", lambda *_: pytest.fail("the bundle was read"))
    options = {} if portable else {"prune_at": "none", "max_context": 96}
    line = "^building segment_0 takes about .* more than what is available here, .*--max-build-memory 0.2, which cuts"
    with pytest.raises(BackendError, match=line):
        build(model, tmp_path / "out", target="rtx4090", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("gigabytes", [0, -1, float("nan"), float("inf"), 1e300])
def test_memory_that_is_no_number_of_gigabytes(gigabytes: float) -> None:
    with pytest.raises(BackendError, match=r"^--max-build-memory is \S+;.*GB above 0"):
        EngineOptions(max_build_memory=gigabytes)


# --- slots --------------------------------------------------------------------------------------------------


def test_a_portable_bundle_is_completed_for_slots(built: Callable[..., Bundle], tmp_path: Path) -> None:
    """Its graphs stay byte for byte."""
    one, several = (build(built(target=None).root, tmp_path / f"{slots}", slots=slots) for slots in (1, 4))
    assert (one.manifest.slots, several.manifest.slots) == (1, 4)
    assert one.manifest.files == several.manifest.files


@pytest.mark.parametrize("wrong", [0, 257, True])
def test_slots_that_are_no_number(built: Callable[..., Bundle], tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(BackendError) as error:
        build(built(target=None).root, tmp_path / "out", slots=wrong)
    says(error, "--slots", wrong, 256)


def test_slots_are_for_a_target(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError) as error:
        build(checkpoint, tmp_path / "out", target=None, slots=2)
    says(error, "--slots 2", "portable")


def test_slots_of_a_portable_bundle_from_before_them(built: Callable[..., Bundle], tmp_path: Path) -> None:
    old = one_slot(built(target=None).root, tmp_path / "old")
    with pytest.raises(BundleError) as error:
        build(old, tmp_path / "out", slots=2)
    says(error, "--slots 2", "one request at a time")
    assert not (tmp_path / "out").exists()
