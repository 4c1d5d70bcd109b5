"""What rounded weights cost in answers: ``docs/rounding-accuracy.md``.

``python -m benchmarks.rounding_accuracy -o docs/rounding-accuracy.md --cache FOLDER`` draws ShapesVQA's pictures, some
of its calibration split to round with and others of its test split to ask about, builds ``clasp-tiny`` in floats and in
every form of :data:`SETTINGS`, asks each the same questions, and writes the page and its figures. With ``--cache`` a
run that was stopped goes on: what was built and answered is not done again.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import clasp_trt
from benchmarks.accuracy_figures import versions
from clasp_trt.bundle import MANIFEST
from clasp_trt.runtime.sampling import GREEDY
from clasp_trt.storage.hashes import file_sha256
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.demo.shipped import CHECKPOINT
from clasp_trt.tools.evaluate import Questions, Share, paired
from clasp_trt.tools.evaluate.scoring import matches
from clasp_trt.tools.evaluate.statistics import Interval, mean
from examples.shapesvqa.generate import DATA, generate
from examples.shapesvqa.scene import REFERENCE

FLOATS = "fp32"
SCHEDULE = (75, 50, 28)
"""The published 192 of 576 tokens, scaled to this model's 144."""


@dataclass(frozen=True)
class Setting:
    """A bundle: its name on the page, how its weights are rounded, and whether by calibration."""

    name: str
    quantize: str
    calibrated: bool = False


SETTINGS = (
    Setting(FLOATS, "none"),
    Setting("int8", "int8"),
    Setting("int4, blocks of 128", "int4:128"),
    Setting("int4, blocks of 32", "int4:32"),
    Setting("int4, blocks of 128, calibrated", "int4:128", calibrated=True),
    Setting("int4, blocks of 32, calibrated", "int4:32", calibrated=True),
)
"""The first is what the others are compared with."""


@dataclass(frozen=True)
class Answers:
    """What one setting said to each question: the ``text``, whether it was ``right``, and the tokens that each stage
    ``kept``."""

    text: list[str]
    right: list[bool]
    kept: list[list[list[int]]]


def ask(bundle: Path, questions: Questions) -> Answers:
    """Every question greedily, each picture encoded once."""
    found = Answers([], [], [])
    with clasp_trt.load(bundle, threads=1) as pipeline:
        for image, rows in groupby(questions.rows, key=lambda row: row.image):
            encoded = pipeline.encode(image)
            for row in rows:
                said = pipeline.generate(encoded, row.prompt, max_new_tokens=16, sampling=GREEDY, category=row.category)
                found.text.append(said.text)
                found.right.append(matches(said.text, row.answer))
                found.kept.append([stage.indices.tolist() for stage in said.kept])
    return found


def answers(name: str, checkpoint: Path, folder: Path, questions: Questions, **options: Any) -> Answers:
    """Those of the bundle ``name`` with these ``options`` of a build, built and asked unless ``folder`` has them."""
    words = re.sub(r"[ ,:]+", "-", name)
    bundle, path = folder / words, folder / f"{words}.json"
    if not path.is_file():
        if not (bundle / MANIFEST).is_file():
            click.echo(f"build {name}", err=True)
            build(checkpoint, bundle, policy=checkpoint / "policy.json", schedule=SCHEDULE, **options)
        click.echo(f"ask {name}", err=True)
        text = json.dumps(vars(ask(bundle, questions)))
        path.with_suffix(".part").write_text(text, encoding="utf-8")
        os.replace(path.with_suffix(".part"), path)
    return Answers(**json.loads(path.read_text(encoding="utf-8")))


def overlap(ours: Answers, floats: Answers) -> NDArray[np.float64]:
    """Of the tokens that each stage keeps in floats the share that is kept here, ``[questions, stages]``."""
    return np.array(
        [
            [len({*mine} & {*theirs}) / len(theirs) for mine, theirs in zip(one, other, strict=True)]
            for one, other in zip(ours.kept, floats.kept, strict=True)
        ]
    )


def figures(found: Mapping[str, Answers], pictures: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Of every setting its share of right answers and, but for the first, how it differs from that."""
    floats, told = found[FLOATS], []
    for name, one in found.items():
        share = Share(sum(one.right), len(one.right))
        row: dict[str, Any] = {"name": name, "right": share.right, "accuracy": share.value, "interval": share.interval}
        if name != FLOATS:
            difference = paired(np.array(one.right), np.array(floats.right), pictures)
            same = np.array([mine == theirs for mine, theirs in zip(one.text, floats.text, strict=True)], np.float64)
            kept = overlap(one, floats)
            row |= {
                "difference": difference.difference,
                "difference_interval": difference.difference_interval,
                "same_answers": mean(same, pictures),
                "kept": [mean(kept[:, stage], pictures) for stage in range(kept.shape[1])],
            }
        told.append(row)
    return told


_PAGE = """\
# What rounding costs in answers

{questions} questions about {pictures} pictures of ShapesVQA's test split, asked of `clasp-tiny` with its weights in
floats and rounded, on a CPU, where rows are [rounded too](quantization.md#on-a-cpu). Of its 144 visual tokens the
stages keep {stages}. The calibrated ones were rounded by {rows} questions about {seen} pictures of the calibration
split, none of which is asked about here.

{table}

In brackets are 95 % intervals: Wilson's for right answers, else a percentile bootstrap that draws whole pictures. Same
tokens are the share of those that a stage keeps in floats that it keeps with rounded weights as well. A small model of
our own says little of a published one, whose layers are wider: measure yours with `clasp-trt eval`.

```bash
python -m benchmarks.rounding_accuracy --pictures {pictures}
```

Versions: {versions}. Questions: SHA-256 `{asked}`; those of the calibration: `{calibrated}`.
"""


def page(found: dict[str, Any]) -> str:
    """The Markdown of the page."""
    kept = [f"same tokens, stage {stage + 1}, %" for stage in range(len(SCHEDULE))]
    head = ["weights", "right, %", "against fp32, points", "same answers, %", *kept]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row in found["settings"]:
        cells = [row["name"], percent(row["accuracy"], row["interval"])]
        if "difference" in row:
            cells.append(points(row["difference"], row["difference_interval"]))
            cells += [percent(*each) for each in (row["same_answers"], *row["kept"])]
        rows.append([*cells, *[""] * (len(head) - len(cells))])
    return _PAGE.format(
        questions=found["questions"],
        pictures=found["pictures"],
        stages=", ".join(map(str, SCHEDULE)),
        rows=found["calibration"]["rows"],
        seen=found["calibration"]["pictures"],
        table="\n".join(f"| {' | '.join(cells)} |" for cells in rows),
        versions=", ".join(f"{name} {version}" for name, version in found["versions"].items()),
        asked=found["data_sha256"][:16],
        calibrated=found["calibration"]["data_sha256"][:16],
    )


def percent(share: float, interval: Sequence[float] | None) -> str:
    return f"{100 * share:.1f}" + ("" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]")


def points(share: float, interval: Interval | None) -> str:
    ends = "" if interval is None else f" [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"
    return f"{100 * share:+.1f}{ends}"


def drawn(folder: Path, split: str, images: int) -> Path:
    if not (folder / DATA).is_file():
        generate(folder, split=split, images=images, seed=0, size=REFERENCE)
    return folder / DATA


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("docs/rounding-accuracy.md"))
@click.option("--pictures", type=click.IntRange(min=1), default=117, show_default=True, help="To ask about.")
@click.option("--calibration-pictures", type=click.IntRange(min=2), default=40, show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), help="Keep bundles and answers here, and go on from them.")
def main(output: Path, pictures: int, calibration_pictures: int, cache: Path | None) -> None:
    """Measure what rounded weights cost clasp-tiny in answers, and write a page about it."""
    with ExitStack() as stack:
        folder = cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        data = drawn(folder / f"test-{pictures}", "test", pictures)
        calibration = drawn(folder / f"calibration-{calibration_pictures}", "calibration", calibration_pictures)
        questions = Questions.read(data)
        found = {
            each.name: answers(
                each.name, CHECKPOINT, folder, questions, quantize=each.quantize,
                calibration=calibration if each.calibrated else None,
            )
            for each in SETTINGS
        }  # fmt: skip
        numbers = {image: number for number, image in enumerate(dict.fromkeys(row.image for row in questions.rows))}
        told = {
            "questions": len(questions.rows),
            "pictures": pictures,
            "data_sha256": questions.sha256,
            "calibration": {
                "rows": min(128, len(Questions.read(calibration).rows)),
                "pictures": calibration_pictures,
                "data_sha256": file_sha256(calibration),
            },
            "versions": versions(),
            "settings": figures(found, np.array([numbers[row.image] for row in questions.rows])),
        }
    output.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    output.write_text(page(told), encoding="utf-8")


if __name__ == "__main__":
    main()
