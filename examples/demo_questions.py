"""The questions that ``clasp-trt demo`` asks: ``python -m examples.demo_questions OUT`` draws them again.

One of each category, from the test split of ShapesVQA. The scenes were picked for their looks, before any model had
answered them. The package holds the result in ``clasp_trt/assets/questions``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from examples.shapesvqa import Question, sample

PICKED: Mapping[str, int] = {
    "object identification": 4,
    "attribute / breed identification": 24,
    "text / symbol recognition": 3,
    "scene understanding": 6,
    "spatial relations": 20,
    "counting": 11,
    "action / interaction": 34,
    "intention / function": 19,
    "default": 18,
}
"""Category to the seed of the scene in whose picture it is asked."""

DATA = "D.jsonl"


def write(out: Path) -> None:
    """Writes ``D.jsonl`` and a PNG for each of its rows into the folder ``out``, over what is there."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for category, seed in PICKED.items():
        image, questions = sample(seed, "test")
        name = f"test-{seed:02d}.png"
        image.save(out / name, optimize=True)
        rows.append(_row(name, next(question for question in questions if question.category == category)))
    (out / DATA).write_text("".join(rows), encoding="utf-8", newline="\n")


def _row(name: str, question: Question) -> str:
    row = {"image": name, "prompt": question.prompt, "answer": question.answer, "category": question.category}
    return json.dumps(row) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.demo_questions", description=__doc__)
    parser.add_argument("out", type=Path, help="the folder to write to")
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
