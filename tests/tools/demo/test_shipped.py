"""What ships with the package for the demo: a question of each category, as the script draws them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from clasp_trt.errors import CheckpointError
from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.tools.demo import shipped
from clasp_trt.tools.evaluate import dataset
from examples import demo_questions
from examples.shapesvqa import matches, sample


def test_one_question_of_each_category() -> None:
    rows = dataset.read(shipped.QUESTIONS)
    assert [row.category for row in rows] == list(CATEGORY_NAMES)
    for row in rows:
        with Image.open(row.image) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (144, 144))


def test_questions_can_be_made_again(tmp_path: Path) -> None:
    demo_questions.write(tmp_path)
    assert (tmp_path / demo_questions.DATA).read_text() == shipped.QUESTIONS.read_text()
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {path.name for path in shipped.QUESTIONS.parent.iterdir()}


def test_questions_are_of_the_test_split() -> None:
    for row in dataset.read(shipped.QUESTIONS):
        _, questions = sample(demo_questions.PICKED[str(row.category)], "test")
        assert any(each.prompt == row.prompt and matches(each.answer, row.answer) for each in questions)


def test_folder_given_comes_before_the_shipped_one(checkpoint: Path) -> None:
    assert shipped.checkpoint(checkpoint) == checkpoint


def test_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no config\.json;.*LLaVA checkpoint"):
        shipped.checkpoint(tmp_path)


def test_copy_without_the_shipped_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "CHECKPOINT", tmp_path / "clasp-tiny")
    with pytest.raises(CheckpointError, match=r"--checkpoint, or train.*clasp_tiny"):
        shipped.checkpoint(None)


def test_policy_is_the_one_in_the_folder(tmp_path: Path) -> None:
    assert shipped.policy(tmp_path) is None
    (tmp_path / "policy.json").write_text(json.dumps({}))
    assert shipped.policy(tmp_path) == tmp_path / "policy.json"
