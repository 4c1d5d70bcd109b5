"""ShapesVQA: answers are true of the scene, texts give nothing away, splits share nothing, seeds decide all."""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clasp_trt.policy import CATEGORY_NAMES
from examples.shapesvqa import (
    SPLITS,
    Question,
    Scene,
    draw_questions,
    make_scene,
    matches,
    render,
    sample,
    scene_seed,
    vocabulary,
)
from examples.shapesvqa.__main__ import main
from examples.shapesvqa.blind import blind
from examples.shapesvqa.glyphs import GLYPHS
from examples.shapesvqa.questions import BY_CATEGORY, TEMPLATES
from examples.shapesvqa.scene import ACTIONS, CELL, COLOURS, FUNCTIONS, KINDS, REFERENCE, TEXTURES, TOOLS
from examples.shapesvqa.sprites import PALETTE
from examples.shapesvqa.words import tokenize

ROOT = Path(__file__).resolve().parents[2]
MANY = 3000


@cache
def drawn(split: str, first: int = 0, scenes: int = MANY, per_category: int = 1) -> list[tuple[Scene, list[Question]]]:
    return [draw_questions(seed, split, per_category) for seed in range(first, first + scenes)]


def asked(split: str, first: int = 0, scenes: int = MANY) -> list[Question]:
    return [question for _, questions in drawn(split, first, scenes) for question in questions]


# --- what is asked


@pytest.mark.full
def test_all_nine_categories_under_the_policys_names() -> None:
    assert tuple(BY_CATEGORY) == CATEGORY_NAMES
    counts = Counter(question.category for question in asked("test"))
    assert set(counts) == set(CATEGORY_NAMES)
    assert min(counts.values()) >= 0.7 * MANY


@pytest.mark.full
def test_every_template_is_asked_and_has_one_name() -> None:
    assert len({template.name for template in TEMPLATES}) == len(TEMPLATES)
    assert {question.template for question in asked("train")} == {template.name for template in TEMPLATES}


def test_questions_of_a_category_about_one_scene_are_of_different_templates() -> None:
    for _, questions in drawn("train", scenes=50, per_category=4):
        assert len({question.template for question in questions}) == len(questions) > len(CATEGORY_NAMES)


def test_no_phrasing_is_in_two_splits() -> None:
    for template in TEMPLATES:
        phrasings = [re.sub(r"\W+", " ", p.lower()).strip() for split in SPLITS for p in template.of(split)]
        assert len(set(phrasings)) == len(phrasings), template.name
        assert len(template.train) >= 5
        assert len(template.test) >= 2
        assert template.calibration


@pytest.mark.full
def test_no_prompt_is_in_two_splits() -> None:
    prompts = [{question.prompt for question in asked(split)} for split in SPLITS]
    assert sum(map(len, prompts)) == len(set.union(*prompts))


def test_no_scene_is_in_two_splits() -> None:
    seeds = [{scene_seed(seed, split) for seed in range(1000)} for split in SPLITS]
    assert len(set.union(*seeds)) == 3000
    assert len({make_scene(seed) for seed in range(3000)}) == 3000


@pytest.mark.full
def test_vocabulary_is_closed_and_small() -> None:
    words = set(vocabulary())
    assert len(words) < 200
    for split in SPLITS:
        for question in asked(split):
            assert words.issuperset(tokenize(question.prompt) + tokenize(question.answer)), question
            assert 1 <= len(question.answer.split()) <= 2


@pytest.mark.full
def test_a_model_meets_every_word_in_training() -> None:
    assert vocabulary(("train",)) == vocabulary()
    words = {word for q in asked("train", scenes=2 * MANY) for word in tokenize(f"{q.prompt} {q.answer}")}
    assert words == set(vocabulary())


def test_no_sign_reads_as_an_article_or_as_nothing() -> None:
    for question in asked("train"):
        assert matches(question.answer, question.answer), question.answer


# --- what is true


def test_answers_are_possible() -> None:
    for split in SPLITS:
        assert all(question.answer in question.choices for question in asked(split))


def answer(scene: Scene, question: Question) -> str | None:
    """The answer worked out a second time, from the scene as a reader of the prompt would; None where not covered."""
    kinds = {shape.kind: shape for shape in scene.singles}
    subject = question.subject
    match question.template:
        case "colour of shape":
            return kinds[subject[0]].colour
        case "pattern of shape":
            return kinds[subject[0]].texture
        case "shape by colour":
            (shape,) = (shape for shape in scene.shapes if shape.colour == subject[0])
            return shape.kind
        case "count":
            noun = subject[0].split()
            singular = {"crosses": "cross"}.get(noun[0], noun[0].removesuffix("s"))
            wanted = [
                shape
                for shape in scene.shapes
                if noun == ["shapes"] or (shape.colour == noun[0] if len(noun) == 2 else shape.kind == singular)
            ]
            return str(len(wanted))
        case "presence":
            word = subject[0].removesuffix(" shape")
            seen = {s.kind for s in scene.shapes} | {s.colour for s in scene.shapes}
            seen |= {scene.tool.kind} if scene.tool else set()
            seen |= {"person"} if scene.person else set()
            return "yes" if word in seen else "no"
        case "left or right":
            return "left" if kinds[subject[0]].at.x < kinds[subject[1]].at.x else "right"
        case "above or below":
            return "above" if kinds[subject[0]].at.y < kinds[subject[1]].at.y else "below"
        case "same colour":
            return "yes" if kinds[subject[0]].colour == kinds[subject[1]].colour else "no"
        case "neighbour":
            (column, row), (side, kind) = kinds[subject[1]].at.cell, subject
            dx, dy = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}[side]
            found = [s for s in scene.shapes if s.at.cell == (column + dx, row + dy) and not s.hero]
            assert kind not in {shape.kind for shape in found}
            return found[0].kind
        case "pointing at" | "colour pointed at":
            assert scene.arrow is not None
            target = scene.shapes[scene.arrow.target]
            step = (target.at.cell[0] - scene.arrow.at.cell[0], target.at.cell[1] - scene.arrow.at.cell[1])
            assert step == {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[scene.arrow.direction]
            return target.kind if question.template == "pointing at" else target.colour
        case "use of tool":
            assert scene.tool is not None
            return FUNCTIONS[scene.tool.kind]
        case _:
            return None


def test_answers_are_true_of_the_scene() -> None:
    covered = set()
    for scene, questions in drawn("calibration"):
        for question in questions:
            expected = answer(scene, question)
            if expected is not None:
                covered.add(question.template)
                assert question.answer == expected, (question, scene)
    assert len(covered) == 12


def test_things_stand_apart_and_inside() -> None:
    for scene, _ in drawn("train", scenes=500):
        cells: list[tuple[int, int]] = []
        for shape in scene.shapes:
            column, row = shape.at.cell
            cells += [(column + i, row + j) for i in range(1 + shape.hero) for j in range(1 + shape.hero)]
        others = (scene.sign, scene.arrow, scene.person, scene.tool)
        cells += [thing.at.cell for thing in others if thing is not None]
        assert len(set(cells)) == len(cells)
        for shape in scene.shapes:
            assert shape.diameter / 2 - 4 <= min(shape.at.x, shape.at.y)
            assert max(shape.at.x, shape.at.y) <= REFERENCE - shape.diameter / 2 + 4
            if not shape.hero:
                assert shape.diameter < CELL


# --- what a blind model can do


@pytest.mark.full
def test_a_text_only_model_stays_near_chance() -> None:
    found = blind(asked("train", 10_000, 2 * MANY), asked("train"))
    for category in CATEGORY_NAMES:
        spread = 4 * math.sqrt(found[category].chance / found[category].questions)  # four standard errors, from above
        assert abs(found[category].bound - found[category].chance) < spread, (category, found[category])


@pytest.mark.parametrize("template", [template.name for template in TEMPLATES])
@pytest.mark.full
def test_answers_are_even_for_every_template_and_subject(template: str) -> None:
    """Pearson's chi-square of the answers against an even draw, pooled over subjects (its degrees of freedom add)."""
    counts: dict[tuple[str, ...], Counter[str]] = {}
    choices: dict[tuple[str, ...], tuple[str, ...]] = {}
    for question in asked("train", scenes=2 * MANY):
        if question.template == template:
            counts.setdefault(question.subject, Counter())[question.answer] += 1
            assert choices.setdefault(question.subject, question.choices) == question.choices
    square = degrees = 0.0
    for subject, seen in counts.items():
        expected = {choice: seen.total() / len(choices[subject]) for choice in choices[subject]}
        if template == "text":  # digits, letters and words are a third each, and there are more letters
            expected = {choice: seen.total() / (36 if choice in "efhklnprtxyz" else 30) for choice in expected}
        if min(expected.values()) >= 1:
            square += sum((seen[choice] - mean) ** 2 / mean for choice, mean in expected.items())
            degrees += len(expected) - 1
    assert degrees
    assert square < degrees + 4.5 * math.sqrt(2 * degrees) + 8  # about one in 10^5, also where the degrees are few


def test_the_blind_bound_sees_a_lopsided_template() -> None:
    lopsided = [
        Question("Is it day or night?", "day" if i % 4 else "night", "default", "time", (), ("day", "night"))
        for i in range(400)
    ]
    found = blind(lopsided, lopsided)["default"]
    assert (found.bound, found.chance) == (0.75, 0.5)


# --- what is drawn


def test_everything_that_a_scene_can_hold_has_a_look_of_its_own() -> None:
    assert {*KINDS, *TOOLS, *ACTIONS, "arrow", "speed"} == set(GLYPHS)
    assert set(COLOURS) == set(PALETTE)
    assert len(set(TEXTURES)) == 4


@pytest.mark.parametrize("size", [96, 144, 336])
def test_pictures_have_the_size_asked_for(size: int) -> None:
    image, _ = sample(3, "train", size=size)
    assert (image.mode, image.size) == ("RGB", (size, size))


def test_colours_are_where_the_scene_says() -> None:
    checked = 0
    for scene, _ in drawn("train", scenes=150):
        pixels = np.asarray(render(scene)).astype(int)
        for shape in scene.shapes:
            if shape.kind in ("circle", "square", "heart", "cross", "star") and shape.texture == "plain":
                inside = pixels[round(shape.at.y) - 1, round(shape.at.x) - 1]
                nearest = min(COLOURS, key=lambda colour: int(np.abs(inside - PALETTE[colour]).sum()))
                assert nearest == shape.colour, (shape, inside)
                checked += 1
    assert checked > 100


def test_drawing_a_scene_leaves_the_kept_background_alone() -> None:
    scene = make_scene(5)
    assert render(scene).tobytes() == render(scene).tobytes()


# --- the same seed, the same everything

_DIGEST = """
import hashlib, sys
from examples.shapesvqa import sample
digest = hashlib.sha256()
for seed in range(20):
    image, questions = sample(seed, "test", per_category=2)
    digest.update(image.tobytes() + repr(questions).encode())
print(digest.hexdigest())
"""


def test_two_processes_agree() -> None:
    def digest(hash_seed: str) -> str:
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT), "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", _DIGEST], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout

    here = hashlib.sha256()
    for seed in range(20):
        image, questions = sample(seed, "test", per_category=2)
        here.update(image.tobytes() + repr(questions).encode())
    assert digest("1") == digest("2") == here.hexdigest() + "\n"


def test_text_does_not_depend_on_the_machine() -> None:
    """Questions need no drawing, so their hash holds for every Pillow; change it together with the data."""
    text = "\n".join(f"{q.prompt} {q.answer}" for q in asked("test", scenes=300))
    assert hashlib.sha256(text.encode()).hexdigest() == QUESTIONS_SHA256


QUESTIONS_SHA256 = "cca5635e3446c9605374177dca16cd37f644faee1677e5aac21d1c2e8a32fa26"


# --- files


def test_files_hold_what_the_manifest_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        main([str(tmp_path / name), "--split", "test", "--images", "12", "--seed", "7"])
    assert "questions about 12 pictures" in capsys.readouterr().out
    one, two = tmp_path / "one", tmp_path / "two"
    assert (one / "manifest.json").read_bytes() == (two / "manifest.json").read_bytes()
    manifest = json.loads((one / "manifest.json").read_text())
    files = {str(p.relative_to(one).as_posix()) for p in one.rglob("*") if p.is_file()} - {"manifest.json"}
    assert files == set(manifest["files"])
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((one / name).read_bytes()).hexdigest() == digest
    rows = [json.loads(line) for line in (one / "D.jsonl").read_text().splitlines()]
    assert all(list(row) == ["image", "prompt", "answer", "category"] for row in rows)
    expected = [(q.prompt, q.answer, q.category) for seed in range(7, 19) for q in sample(seed, "test")[1]]
    assert [(row["prompt"], row["answer"], row["category"]) for row in rows] == expected
    with Image.open(one / rows[0]["image"]) as image:
        assert image.convert("RGB").tobytes() == sample(7, "test")[0].tobytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_jpeg_stays_close(tmp_path: Path) -> None:
    main([str(tmp_path / "d"), "--split", "train", "--images", "1", "--format", "jpg"])
    with Image.open(tmp_path / "d/images/train-0000000.jpg") as image:
        difference = np.asarray(image).astype(int) - np.asarray(sample(0, "train")[0]).astype(int)
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--split", "test", "--images", "0"], "--images 0: expected at least 1"),
        (["--split", "test", "--images", "1", "--seed", "-1"], "--seed -1: expected at least 0"),
        (["--split", "test", "--images", "1", "--size", "10"], "--size 10: expected at least 72"),
        (["--split", "tset", "--images", "1"], "invalid choice: 'tset'"),
        (["--split", "test", "--images", "1"], "already there"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path), *arguments])
    assert stop.value.code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_sampling_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="split 'validation'"):
        sample(0, "validation")
    with pytest.raises(ValueError, match="seed -1"):
        sample(-1, "train")


# --- the score


@pytest.mark.parametrize("prediction", ["Top left", " top  left.", "the top left", "TOP LEFT!"])
def test_score_ignores_case_punctuation_and_articles(prediction: str) -> None:
    assert matches(prediction, "top left")


@pytest.mark.parametrize(
    ("prediction", "expected"), [("top", "top left"), ("left top", "top left"), ("", "3"), ("the", "a"), ("13", "3")]
)
def test_score_is_exact(prediction: str, expected: str) -> None:
    assert not matches(prediction, expected)
