"""The demo's bundles: the schedules asked for, built once, and again when anything they are made of changes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import clasp_trt
from clasp_trt.errors import BackendError, PolicyError
from clasp_trt.policy import Policy, prior
from clasp_trt.tools.demo import bundles as module
from clasp_trt.tools.demo.bundles import RECORD, bundles
from tests.house import PYPROJECT

pytestmark = pytest.mark.full


def silent(phase: str, done: int, total: int) -> None: ...


@pytest.fixture(scope="module")
def made(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a policy, and in ``work`` beside it the bundles of it."""
    root = tmp_path_factory.mktemp("demo")
    shutil.copytree(checkpoint, root / "checkpoint")
    (root / "checkpoint" / "policy.json").write_text(prior((1, 3), 3).dumps())
    assert bundles(root / "checkpoint", root / "work", (), silent).fresh
    return root


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "demo")
    return tmp_path / "demo"


@pytest.fixture
def no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building is an error with a name of its own."""

    def build(*_: object, **__: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(module, "compile_bundle", build)


def again(root: Path, *budgets: int) -> module.Built:
    return bundles(root / "checkpoint", root / "work", budgets, silent)


@pytest.mark.usefixtures("no_build")
def test_second_run_finds_the_bundles(made: Path) -> None:
    built = again(made)
    assert not built.fresh
    assert tuple(built.bundles) == ("unpruned", "third", "ninth")
    keeps = [bundle.manifest.schedule.keeps for bundle in built.bundles.values()]
    assert keeps == [(), (8, 6, 3), (3, 2, 1)]


@pytest.mark.usefixtures("no_build")
def test_pruned_bundles_have_the_policy_of_the_checkpoint(made: Path) -> None:
    policies = [bundle.policy for bundle in again(made).bundles.values()]
    given = Policy.load(made / "checkpoint" / "policy.json")
    assert policies[1:] == [given, given]
    assert policies[0].layers == (3,)  # as it was trained


@pytest.mark.usefixtures("no_build")
def test_another_version_is_built_again(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clasp_trt, "__version__", "99.0")
    with pytest.raises(InterruptedError):
        again(copied)


@pytest.mark.usefixtures("no_build")
@pytest.mark.parametrize("name", ["model.safetensors", "policy.json", "tokenizer.json"])
def test_another_checkpoint_is_built_again(copied: Path, name: str) -> None:
    with (copied / "checkpoint" / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(InterruptedError):
        again(copied)


@pytest.mark.usefixtures("no_build")
def test_other_budgets_are_built(copied: Path) -> None:
    with pytest.raises(InterruptedError):
        again(copied, 8)


@pytest.mark.usefixtures("no_build")
def test_damaged_bundle_is_built_again(copied: Path) -> None:
    (copied / "work" / "ninth" / "policy.json").unlink()
    with pytest.raises(InterruptedError):
        again(copied)


def test_what_was_built_in_part_is_not_found(copied: Path) -> None:
    (copied / "checkpoint" / "policy.json").write_text("{}")
    with pytest.raises(PolicyError):  # after the unpruned bundle, which needs no policy
        again(copied)
    assert not (copied / "work" / RECORD).exists()


def test_missing_exporter_is_said_before_any_work(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BackendError, match=r"clasp-trt\[export\]"):
        bundles(checkpoint, tmp_path / "work", (), silent)
    assert not (tmp_path / "work").exists()


def test_exporter_is_what_the_extra_installs() -> None:
    extra = PYPROJECT["project"]["optional-dependencies"]["export"]
    assert [need.partition(">=")[0].replace("-", "_") for need in extra] == list(module._EXPORT)
