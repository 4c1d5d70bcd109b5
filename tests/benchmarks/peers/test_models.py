"""What peers read is made once, of one checkpoint, and again when anything that it depends on changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers import models
from benchmarks.peers.lineup import LLAMACPP, LLAVA, OURS, Model

MADE = Model("theirs", LLAMACPP, LLAVA, ("their.converter", "{checkpoint}", "{out}"))


class Maker:
    """Makes a checkpoint or a model of a few bytes, and notes the words."""

    def __init__(self) -> None:
        self.heard: list[list[str]] = []

    def __call__(self, words: list[str], folder: Path) -> None:
        self.heard.append(words[2:])
        out = Path(words[3] if words[2].startswith("examples") else words[4])
        out.mkdir()
        (out / "config.json").write_text("{}")


def test_a_checkpoint_and_a_model_are_made_once(tmp_path: Path) -> None:
    maker = Maker()
    made = models.model(tmp_path, MADE, maker)
    assert models.model(tmp_path, MADE, maker) == made
    assert [words[0] for words in maker.heard] == ["examples.random_llava", "their.converter"]
    assert maker.heard[1][1] == str(tmp_path / LLAVA)
    assert [each.name for each in (tmp_path / "models").iterdir()] == [made.name], "nothing half made is left"


def test_a_model_without_a_command_is_the_checkpoint(tmp_path: Path) -> None:
    assert models.model(tmp_path, replace(MADE, command=()), Maker()) == tmp_path / LLAVA


def test_another_checkpoint_makes_another_model_and_the_old_one_goes(tmp_path: Path) -> None:
    maker = Maker()
    old = models.model(tmp_path, MADE, maker)
    (tmp_path / LLAVA / "model.safetensors").write_bytes(b"other weights")
    new = models.model(tmp_path, MADE, maker)
    assert new != old
    assert not old.exists()


def test_a_model_that_can_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    maker = Maker()
    models.checkpoint(tmp_path, LLAVA, maker)

    def fail(words: list[str], folder: Path) -> None:
        maker(words, folder)
        raise RuntimeError("exit code 1")

    with pytest.raises(RuntimeError):
        models.model(tmp_path, MADE, fail)
    assert [*(tmp_path / "models").iterdir()] == []


def test_the_key_follows_the_ends_of_weights_and_the_command(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(3 * models.ENDS))
    keys = {models.key(tmp_path, MADE), models.key(tmp_path, replace(MADE, command=("other",)))}
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert len(keys | {models.key(tmp_path, MADE)}) == 3


def test_a_bundle_is_made_anew_when_the_builder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    for name in (
        "export/graph.py",
        "clasp_trt/tools/build/compiler.py",
        "clasp_trt/cli/main.py",
        "runtime/chat.py",
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("one")
    monkeypatch.setattr(models, "ROOT", tree)
    source, ours = tmp_path / "checkpoint", replace(MADE, peer=OURS)
    source.mkdir()

    def changes(name: str) -> bool:
        before = models.key(source, ours)
        (tree / name).write_text("two")
        return models.key(source, ours) != before

    assert changes("export/graph.py")
    assert changes("clasp_trt/tools/build/compiler.py")
    assert not changes("clasp_trt/cli/main.py")
    assert not changes("runtime/chat.py")


def test_a_command_that_fails_says_where_its_words_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="exit code 3") as raised:
        models.by_command(["sh", "-c", "echo because; exit 3"], tmp_path)
    assert str(tmp_path / "making.log") in str(raised.value)
    assert (tmp_path / "making.log").read_text() == "because\n"
