"""``python -m examples.shapesvqa OUT --split test --images 1000 --seed 0``: see README.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.shapesvqa.generate import DATA, FORMATS, GenerateError, generate
from examples.shapesvqa.questions import BY_CATEGORY
from examples.shapesvqa.questions.question import SPLITS
from examples.shapesvqa.scene import REFERENCE

_MIN_SIZE = 72  # below it text has no pixels to stand on


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.shapesvqa", description="Draw ShapesVQA as files.")
    parser.add_argument("out", type=Path, help="a folder that does not exist or is empty")
    parser.add_argument("--split", choices=SPLITS, required=True)
    parser.add_argument("--images", type=int, required=True, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the first picture; the next ones count on (default: 0)")
    parser.add_argument("--size", type=int, default=REFERENCE, help="width and height, px (default: %(default)s)")
    parser.add_argument("--per-category", type=int, default=1, help="most questions of a category per picture")
    parser.add_argument("--format", choices=tuple(FORMATS), default="png")
    args = parser.parse_args(argv)
    for name, least in (("images", 1), ("seed", 0), ("size", _MIN_SIZE), ("per_category", 1)):
        if getattr(args, name) < least:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: expected at least {least}")
    try:
        manifest = generate(
            args.out,
            split=args.split,
            images=args.images,
            seed=args.seed,
            size=args.size,
            per_category=args.per_category,
            extension=args.format,
        )
    except (GenerateError, OSError) as error:
        parser.error(str(error))
    counts = manifest["questions"]
    assert isinstance(counts, dict)
    for category in BY_CATEGORY:
        print(f"{counts.get(category, 0):7d}  {category}")
    print(f"{sum(counts.values()):7d}  questions about {args.images} pictures: {args.out / DATA}")


if __name__ == "__main__":
    main()
