"""Questions as two evaluation harnesses read them, which then ask them of a server (``docs/harnesses.md``).

VLMEvalKit reads a table of tab-separated values, one file with the pictures in it; lmms-eval reads JSON lines beside a
description of the task and a function that opens pictures.
"""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import string
from collections.abc import Mapping
from pathlib import Path

from clasp_trt.errors import DataError, ImageError, OutputError
from clasp_trt.progress import Progress, silent
from clasp_trt.runtime.media.image import load_image
from clasp_trt.storage.files import check, write, write_text
from clasp_trt.tools.evaluate import dataset
from clasp_trt.tools.evaluate.dataset import Row
from clasp_trt.tools.evaluate.questions import Questions

LETTERS = string.ascii_uppercase
MISSING = frozenset(
    {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL"}
    | {"NaN", "None", "n/a", "nan", "null"}
)
"""Texts that pandas reads from a table as nothing (its documentation of ``read_csv``, ``na_values``)."""

TASK = """\
# A task of lmms-eval: lmms_eval --include_path {folder} --tasks {name}
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_visual: !function {module}.pictures
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  max_new_tokens: {max_new_tokens}
  temperature: 0
  do_sample: false
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    ignore_punctuation: true
"""
OPENING = '''\
"""Opens the pictures of a question, for the task of lmms-eval that lies beside."""

from PIL import Image


def pictures(doc):
    """Those of a row, in their order, as lmms-eval takes them."""
    return [Image.open(path).convert("RGB") for path in doc["images"]]
'''


def options(path: str | os.PathLike[str]) -> Mapping[int, tuple[str, ...]]:
    """What may be answered to the row in each line that says so by the key ``options``, a list of 2 to 26 strings.

    Raises :class:`DataError`, by ``file:line``, for other values.
    """
    found = {}
    for number, item in dataset.rows_of(path):
        if "options" in (of := item.members()):
            given = tuple(each.prose() for each in of["options"].elements())
            if not 2 <= len(set(given)) == len(given) <= len(LETTERS):
                of["options"].fail(f"2 to {len(LETTERS)} different strings")
            found[number] = given
    return found


def write_tsv(path: str | os.PathLike[str], questions: Questions, progress: Progress = silent) -> None:
    """``path`` becomes a table of VLMEvalKit: ``index`` (the row's line), ``question``, ``image`` (the file in base64,
    a list of such in Python's notation, or the index of the row that has the same), ``answer``, and where rows have
    them ``category`` and ``A``, ``B``...; ``image_path`` has names for pictures where a row has several.

    With options the answer is a letter. Raises :class:`DataError` by ``file:line`` for a row that such a table cannot
    hold, a picture that cannot be read among them; :class:`OutputError` where nothing can be written.
    """
    check(path, (".tsv",))
    _check_kinds(questions)
    choices = _choices(questions)
    several = any(len(row.images) > 1 for row in questions.rows)
    letters = LETTERS[: max(map(len, choices.values()), default=0)]
    categories = any(row.category is not None for row in questions.rows)
    columns = ["index", *(["image_path"] if several else []), "image", "question", *letters, "answer"]
    columns += ["category"] if categories else []
    for row in questions.rows:
        _check_cells(questions, row, (row.prompt, row.answer, row.category, *choices.get(row.line, ())))

    def save(draft: Path) -> None:
        with draft.open("w", encoding="utf-8", newline="") as file:
            # a lone \r is quoted by no minimal rule of every Python
            table = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            table.writeheader()
            first: dict[tuple[Path, ...], int] = {}
            for number, row in enumerate(questions.rows):
                progress("export", number, len(questions.rows))
                cells: dict[str, object] = {"index": row.line, "question": row.prompt, "answer": row.answer}
                same = first.setdefault(row.images, row.line)
                cells["image"] = _embedded(questions, row) if same == row.line else same
                if several:
                    names = [f"{same}_{place}.png" for place in range(len(row.images))]
                    cells["image_path"] = names[0] if len(names) == 1 else repr(names)
                if categories:
                    cells["category"] = row.category
                if row.line in choices:
                    cells |= zip(LETTERS, choices[row.line], strict=False)
                    cells["answer"] = LETTERS[choices[row.line].index(row.answer)]
                table.writerow(cells)
            progress("export", len(questions.rows), len(questions.rows))

    write(path, save)


def write_jsonl(
    path: str | os.PathLike[str], questions: Questions, *, max_new_tokens: int, progress: Progress = silent
) -> tuple[Path, ...]:
    """``path`` becomes the rows of a task of lmms-eval: ``index``, ``question``, ``answer``, ``images`` (absolute
    paths), ``category`` or null, and where rows have them ``options``, which are then listed in the question, and the
    answer is a letter. A ``.yaml`` and a ``.py`` beside it describe the task, which is called as the file.

    Returns the three files. Raises as :func:`write_tsv`.
    """
    target = check(path, (".jsonl",))
    name = re.sub(r"\W", "_", target.stem)
    module = f"{name}_pictures"
    task, opening = target.with_name(f"{name}.yaml"), target.with_name(f"{module}.py")
    for other in (task, opening):
        check(other)
        if other.exists() and not other.read_bytes().startswith((b"# A task of lmms-eval", b'"""Opens the pictures')):
            raise OutputError(f"{other} would be replaced, and no export wrote it; choose another name than {path}")
    _check_kinds(questions)
    choices = _choices(questions)
    lines = []
    for number, row in enumerate(questions.rows):
        progress("export", number, len(questions.rows))
        _check_pictures(questions, row)
        item: dict[str, object] = {"index": row.line, "question": row.prompt, "answer": row.answer}
        item |= {"images": [os.path.abspath(image) for image in row.images], "category": row.category}
        if choices:
            given = choices[row.line]
            item["question"] = "\n".join([row.prompt, *map(". ".join, zip(LETTERS, given, strict=False))])
            item |= {"options": given, "answer": LETTERS[given.index(row.answer)]}
        lines.append(json.dumps(item, ensure_ascii=False) + "\n")
    progress("export", len(questions.rows), len(questions.rows))
    write_text(target, "".join(lines))
    write_text(opening, OPENING)
    described = TASK.format(
        name=name, folder=target.parent, data=json.dumps(str(target), ensure_ascii=False), module=module,
        max_new_tokens=max_new_tokens,
    )  # fmt: skip
    write_text(task, described)
    return target, task, opening


def _choices(questions: Questions) -> Mapping[int, tuple[str, ...]]:
    """The options of the rows: of all or of none, with the answer among them."""
    found, asked = options(questions.name), {row.line for row in questions.rows}
    choices = {line: given for line, given in found.items() if line in asked}
    for row in questions.rows if choices else ():
        if row.line not in choices:
            raise DataError(
                f"{questions.place(row)}: no options, and other rows have some; a harness judges all rows alike, so"
                " give all of them options, or none"
            )
        if row.answer not in choices[row.line]:
            raise DataError(
                f"{questions.place(row)}: the answer {row.answer!r} is not among the options; expected one of:"
                f" {', '.join(choices[row.line])}"
            )
    return choices


def _check_cells(questions: Questions, row: Row, cells: tuple[str | None, ...]) -> None:
    for cell in cells:
        if cell in MISSING:
            raise DataError(
                f"{questions.place(row)}: {cell!r} is read from a table as nothing by pandas, which VLMEvalKit reads it"
                " with; say it otherwise, or use --export jsonl"
            )


def _check_kinds(questions: Questions) -> None:
    for row in questions.rows:
        if row.video is not None:
            raise DataError(f"{questions.place(row)}: has a video; pictures alone can be exported, leave the row out")


def _check_pictures(questions: Questions, row: Row) -> None:
    for image in row.images:
        try:
            load_image(image)
        except ImageError as error:
            raise DataError(f"{questions.place(row)}: {error}") from error


def _embedded(questions: Questions, row: Row) -> str:
    _check_pictures(questions, row)
    files = [base64.b64encode(image.read_bytes()).decode() for image in row.images]
    return files[0] if len(files) == 1 else repr(files)
