"""What zero weights cost in answers: ``docs/sparsity-accuracy.md``.

``python -m benchmarks.sparsity_accuracy --cache FOLDER`` draws ShapesVQA's pictures, some of its calibration split to
choose with and others of its test split to ask about, builds ``clasp-tiny`` dense and in every form of
:data:`SETTINGS`, asks each the same questions, and writes the page and its figures. With ``--cache`` a run that was
stopped goes on.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.accuracy_figures import versions
from benchmarks.rounding_accuracy import FLOATS, SCHEDULE, answers, drawn, figures, percent, points
from clasp_trt.notice import Notice
from clasp_trt.sparsity import MAGNITUDE, SCORES, parse
from clasp_trt.storage.hashes import file_sha256
from clasp_trt.tools.demo.shipped import CHECKPOINT
from clasp_trt.tools.evaluate import Questions

ASKED = ("0.5", "2:4")
SETTINGS = (None, *(f"{asked},{scores}" for asked in ASKED for scores in reversed(SCORES)))
"""What ``--sparsity`` says; the first is dense, which the others are compared with."""

_PAGE = """\
# What zeros cost in answers

{questions} questions about {pictures} pictures of ShapesVQA's test split, asked of `clasp-tiny` in fp32, dense and
[sparse](sparsity.md), on a CPU. Of its 144 visual tokens the stages keep {stages}. Wanda and TAMP chose by {rows}
questions about {seen} pictures of the calibration split, none of which is asked about here.

{table}

In brackets are 95 % intervals: Wilson's for right answers, else a percentile bootstrap that draws whole pictures. A
small model of our own, trained to the end on what it is asked about, says little of a published one: measure yours with
`clasp-trt eval`.

```bash
python -m benchmarks.sparsity_accuracy --pictures {pictures}
```

Versions: {versions}. Questions: SHA-256 `{asked}`; those of the calibration: `{calibrated}`.
"""


def name(sparsity: str | None) -> str:
    """Of a setting, on the page."""
    return FLOATS if sparsity is None else str(parse(sparsity))


def page(found: dict[str, Any]) -> str:
    """The Markdown of the page."""
    rows = [["weights", "right, %", "against dense, points", "same answers, %"], ["---", "---:", "---:", "---:"]]
    for row in found["settings"]:
        if row["name"] == FLOATS:
            rows.append(["dense", percent(row["accuracy"], row["interval"]), "", ""])
            continue
        difference = points(row["difference"], row["difference_interval"])
        rows.append([row["name"], percent(row["accuracy"], row["interval"]), difference, percent(*row["same_answers"])])
    return _PAGE.format(
        questions=found["questions"],
        pictures=found["pictures"],
        stages=", ".join(map(str, SCHEDULE)),
        rows=found["calibration"]["rows"],
        seen=found["calibration"]["pictures"],
        table="\n".join(f"| {' | '.join(cells)} |" for cells in rows),
        versions=", ".join(f"{each} {version}" for each, version in found["versions"].items()),
        asked=found["data_sha256"][:16],
        calibrated=found["calibration"]["data_sha256"][:16],
    )


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("docs/sparsity-accuracy.md"))
@click.option("--pictures", type=click.IntRange(min=1), default=60, show_default=True, help="To ask about.")
@click.option("--calibration-pictures", type=click.IntRange(min=2), default=40, show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), help="Keep bundles and answers here, and go on from them.")
def main(output: Path, pictures: int, calibration_pictures: int, cache: Path | None) -> None:
    """Measure what zero weights cost clasp-tiny in answers, and write a page about it."""
    warnings.simplefilter("ignore", Notice)  # that zeros buy nothing on a CPU
    with ExitStack() as stack:
        folder = cache or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        data = drawn(folder / f"test-{pictures}", "test", pictures)
        calibration = drawn(folder / f"calibration-{calibration_pictures}", "calibration", calibration_pictures)
        questions = Questions.read(data)
        found = {
            name(each): answers(
                name(each), CHECKPOINT, folder, questions, sparsity=each,
                calibration=None if each is None or each.endswith(MAGNITUDE) else calibration,
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
