"""The compiler's own decisions: what is asked for, what is refused, and what a portable bundle becomes."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import clasp_trt
from clasp_trt.bundle import Bundle
from clasp_trt.compiler import DEFAULT_CONTEXT, Options, Pruning, build
from clasp_trt.errors import BackendError, BundleError, OutputError, PolicyError, ScheduleError, TargetError
from clasp_trt.policy import CATEGORY_NAMES
from tests.commands import GROUP


def test_the_function_mirrors_the_command() -> None:
    command = GROUP.get_command(click.Context(GROUP), "build")
    assert command is not None
    asked = {parameter.name: parameter.default for parameter in command.params if parameter.name != "as_json"}
    taken = inspect.signature(clasp_trt.build).parameters
    assert set(asked) == set(taken) - {"progress"}
    for name in ("target", "prune_at", "precision"):
        assert asked[name] == taken[name].default


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
    with pytest.raises(ScheduleError, match=r"^no --budget was given, .*; budget: 5 is out of reach"):
        Pruning().schedule(16, 4)
    with pytest.raises(ScheduleError, match=r"^budget: 5 is out of reach"):
        Pruning(budget=5).schedule(16, 4)


def test_unknown_words(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="unknown precision 'fp8'"):
        Options(precision="fp8")
    with pytest.raises(TargetError, match="unknown backend 'onnx'"):
        build("model", tmp_path / "out", backend="onnx")
    with pytest.raises(OutputError, match="empty name"):
        build("model", "")


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
    with pytest.raises(PolicyError, match="layer 5, but the tower of this checkpoint has layers 0 to 4"):
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
    assert heard[-1][1] == heard[-1][2] > 0
    portable.verify()


def test_portable_bundle_may_be_completed_in_place(built: Callable[..., Bundle], tmp_path: Path) -> None:
    import shutil

    place = shutil.copytree(built(target=None).root, tmp_path / "out")
    with pytest.raises(OutputError, match="exists"):
        build(place, place)
    assert build(place, place, force=True).manifest.target == "cpu"
    with pytest.raises(BundleError, match="already built for cpu"):
        build(place, tmp_path / "again")


@pytest.mark.parametrize(
    "option",
    [{"budget": 4}, {"schedule": (3, 2, 1)}, {"prune_at": "none"}, {"precision": "fp16"}, {"max_context": 64}],
)
def test_bundle_fixes_what_it_was_made_with(
    built: Callable[..., Bundle], tmp_path: Path, option: dict[str, object]
) -> None:
    with pytest.raises(BundleError, match="fixes pruning, precision, policy and context already"):
        build(built(target=None).root, tmp_path / "out", **option)  # type: ignore[arg-type]


def test_targets_without_their_own_backend_yet(built: Callable[..., Bundle], tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="add --backend onnxruntime to run on thor"):
        build(built(target=None).root, tmp_path / "out", target="thor")
    made = build(built(target=None).root, tmp_path / "out", target="thor", backend="onnxruntime")
    assert made.manifest.target == "thor"
