"""A contact sheet: ``python -m examples.shapesvqa.sheet OUT.png`` shows scenes with a question for each category."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from examples.shapesvqa.questions.question import SPLITS
from examples.shapesvqa.sampling import sample
from examples.shapesvqa.scene import REFERENCE

_LINE = 15
_MARGIN = 12
_WIDTH = 330


def sheet(seed: int, split: str, columns: int, rows: int) -> Image.Image:
    """Pictures at twice their size with their questions below."""
    side = 2 * REFERENCE
    cell = (_WIDTH, side + 9 * _LINE + _MARGIN)
    page = Image.new("RGB", (columns * cell[0] + _MARGIN, rows * cell[1] + _MARGIN), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for index in range(columns * rows):
        image, questions = sample(seed + index, split)
        left = _MARGIN + index % columns * cell[0]
        top = _MARGIN + index // columns * cell[1]
        page.paste(image.resize((side, side), Image.Resampling.NEAREST), (left, top))
        for line, question in enumerate(questions):
            text = f"{question.prompt} {question.answer.upper()}"
            draw.text((left, top + side + 3 + line * _LINE), text, fill=(40, 40, 48), font=font)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.shapesvqa.sheet", description=__doc__)
    parser.add_argument("out", type=Path, help="the picture to write")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--seed", type=int, default=0, help="of the first scene")
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--rows", type=int, default=3)
    args = parser.parse_args()
    if args.seed < 0 or args.columns < 1 or args.rows < 1:
        parser.error("--seed must be 0 or more, --columns and --rows 1 or more")
    sheet(args.seed, args.split, args.columns, args.rows).save(args.out)


if __name__ == "__main__":
    main()
