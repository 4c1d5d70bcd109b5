"""Questions for other harnesses come back as they were, through the readers that these use."""

from __future__ import annotations

import ast
import base64
import csv
import importlib.util
import io
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from PIL import Image

from clasp_trt.errors import DataError, OutputError
from clasp_trt.tools.evaluate import Questions
from clasp_trt.tools.evaluate.harness import write_jsonl, write_tsv
from tests.mistakes import says

HARD = 'tab\tand "quotes"\nnext line\r\nalone \r with \\ and , and \u2028 and \U0001f98a 狐狸\'s'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (40 + number, 30), colour).save(tmp_path / f"{colour}.png")
    Image.new("RGB", (30, 30), "red").save(tmp_path / "photo ü.jpg")
    return tmp_path


def asked(folder: Path, *rows: Mapping[str, object]) -> Questions:
    (folder / "D.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Questions.read(folder / "D.jsonl")


def row(**changes: object) -> dict[str, object]:
    return {"image": "red.png", "prompt": "Which colour?", "answer": "red"} | changes


def table(path: Path) -> list[dict[str, str]]:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", strict=True))


def pixels(data: bytes) -> tuple[tuple[int, int], bytes]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size, image.convert("RGB").tobytes()


def test_a_table_comes_back(folder: Path) -> None:
    questions = asked(
        folder,
        row(prompt=HARD, answer=HARD, category="counting"),
        row(image="photo ü.jpg", answer="狐"),
        row(prompt="And here?", answer=7),
    )
    write_tsv(folder / "D.tsv", questions)
    found = table(folder / "D.tsv")
    assert list(found[0]) == ["index", "image", "question", "answer", "category"]
    assert [(each["index"], each["question"], each["answer"], each["category"]) for each in found] == [
        ("1", HARD, HARD, "counting"),
        ("2", "Which colour?", "狐", ""),
        ("3", "And here?", "7", ""),
    ]
    assert base64.b64decode(found[0]["image"]) == (folder / "red.png").read_bytes()
    assert base64.b64decode(found[1]["image"]) == (folder / "photo ü.jpg").read_bytes()
    assert found[2]["image"] == "1"  # of the row that has the same, which saves its bytes
    assert len(found[0]["image"]) > 64  # what is shorter is taken for an index


def test_several_pictures_in_a_table(folder: Path) -> None:
    two = ["green.png", "blue.png"]
    questions = asked(folder, row(), row(image=two), row(image=two), row(image=two[::-1]))
    write_tsv(folder / "D.tsv", questions)
    found = table(folder / "D.tsv")
    files = [base64.b64decode(each) for each in ast.literal_eval(found[1]["image"])]
    assert files == [(folder / name).read_bytes() for name in two]
    assert found[2]["image"] == "2"
    assert [base64.b64decode(each) for each in ast.literal_eval(found[3]["image"])] == files[::-1]
    names = [ast.literal_eval(each["image_path"]) for each in found[1:]]
    assert names == [["2_0.png", "2_1.png"], ["2_0.png", "2_1.png"], ["4_0.png", "4_1.png"]]
    assert found[0]["image_path"] == "1_0.png"


def test_options_become_columns_and_the_answer_a_letter(folder: Path) -> None:
    questions = asked(folder, row(options=["blue", "red", "a\tb"]), row(options=["red", "green"]))
    write_tsv(folder / "D.tsv", questions)
    found = table(folder / "D.tsv")
    assert list(found[0]) == ["index", "image", "question", "A", "B", "C", "answer"]
    assert [[each[key] for key in ("A", "B", "C", "answer")] for each in found] == [
        ["blue", "red", "a\tb", "B"],
        ["red", "green", "", "A"],
    ]


def test_json_lines_come_back_with_a_task(folder: Path) -> None:
    questions = asked(
        folder, row(prompt=HARD, answer=HARD, category="counting"), row(image=["green.png", "photo ü.jpg"])
    )
    target, task, opening = write_jsonl(folder / "my-set.v1.jsonl", questions, max_new_tokens=5)
    assert [each.name for each in (target, task, opening)] == [
        "my-set.v1.jsonl", "my_set_v1.yaml", "my_set_v1_pictures.py",
    ]  # fmt: skip
    found = [json.loads(line) for line in target.read_text(encoding="utf-8").split("\n")[:-1]]
    assert found == [
        {"index": 1, "question": HARD, "answer": HARD, "images": [str(folder / "red.png")], "category": "counting"},
        {
            "index": 2, "question": "Which colour?", "answer": "red",
            "images": [str(folder / "green.png"), str(folder / "photo ü.jpg")], "category": None,
        },
    ]  # fmt: skip

    class Loader(yaml.SafeLoader):
        """With lmms-eval's own tag, which names a function of a file that lies beside."""

    Loader.add_constructor("!function", lambda loader, node: f"function {loader.construct_scalar(node)}")
    said = yaml.load(task.read_text(encoding="utf-8"), Loader)
    assert (said["task"], said["dataset_path"], said["output_type"]) == ("my_set_v1", "json", "generate_until")
    assert said["dataset_kwargs"] == {"data_files": {"test": str(target)}}
    assert said["doc_to_visual"] == "function my_set_v1_pictures.pictures"
    assert said["generation_kwargs"]["max_new_tokens"] == 5
    spec = importlib.util.spec_from_file_location("opening", opening)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    opened = module.pictures(found[1])
    assert [(each.size, each.tobytes()) for each in opened] == [
        pixels((folder / name).read_bytes()) for name in ("green.png", "photo ü.jpg")
    ]


def test_options_are_listed_in_json_lines(folder: Path) -> None:
    questions = asked(folder, row(options=["blue", "red"]))
    target, *_ = write_jsonl(folder / "D2.jsonl", questions, max_new_tokens=5)
    (found,) = map(json.loads, target.read_text(encoding="utf-8").splitlines())
    assert (found["question"], found["answer"]) == ("Which colour?\nA. blue\nB. red", "B")
    assert found["options"] == ["blue", "red"]


@pytest.mark.parametrize(
    ("rows", "line", "fact"),
    [
        ([row(answer="None")], 1, "'None'"),
        ([row(), row(prompt="NA")], 2, "'NA'"),
        ([row(options=["red", "blue"]), row()], 2, "options"),
        ([row(options=["green", "blue"])], 1, "green, blue"),
        ([row(options=["red", "red"])], 1, "different"),
        ([row(options="red or blue")], 1, "array"),
        ([row(options=["red"])], 1, "26"),
        ([row(), row(video=".")], 2, "video"),
        ([row(), row(image="broken.png")], 2, "broken.png"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_a_table_cannot_hold(folder: Path, rows: list[dict[str, object]], line: int, fact: str) -> None:
    (folder / "broken.png").write_bytes((folder / "red.png").read_bytes()[:60])
    questions = asked(folder, *rows)
    with pytest.raises(DataError) as error:
        write_tsv(folder / "D.tsv", questions)
    says(error, f"{folder / 'D.jsonl'}:{line}", fact)
    assert not (folder / "D.tsv").exists()


def test_a_picture_that_went_is_named(folder: Path) -> None:
    questions = asked(folder, row(), row(image="blue.png"))
    (folder / "blue.png").unlink()
    for write in (lambda: write_tsv(folder / "a.tsv", questions), lambda: _lines(folder / "a.jsonl", questions)):
        with pytest.raises(DataError) as error:
            write()
        says(error, "D.jsonl:2", "blue.png")
    assert sorted(each.name for each in folder.glob("a*")) == []


def _lines(path: Path, questions: Questions) -> object:
    return write_jsonl(path, questions, max_new_tokens=1)


def test_files_of_others_stay(folder: Path) -> None:
    questions = asked(folder, row())
    (folder / "a.yaml").write_text("mine: 1\n")
    with pytest.raises(OutputError) as error:
        _lines(folder / "a.jsonl", questions)
    says(error, folder / "a.yaml")
    assert (folder / "a.yaml").read_text() == "mine: 1\n"
    _lines(folder / "b.jsonl", questions)
    _lines(folder / "b.jsonl", questions)  # its own are replaced
    for name in ("b.csv", "nowhere/b.tsv"):
        with pytest.raises(OutputError):
            write_tsv(folder / name, questions)
    shutil.rmtree(folder)
