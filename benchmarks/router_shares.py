"""The categories of questions such as VQAv2 asks, beside those of the paper: ``python -m benchmarks.router_shares``.

``router_vqa.txt`` holds 334 questions of our own in VQAv2's manner: 38 % to be answered by yes or no, some 11 % by a
number. The paper's column is Table 7, counts of VQAv2 by a language model's labels. ``--router`` measures another.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from clasp_trt.policy import CATEGORY_NAMES, PRIOR_THRESHOLD
from clasp_trt.runtime.routing.folder import SHIPPED, load_router
from clasp_trt.tools.routers.prompt_files import read_prompts

QUESTIONS = Path(__file__).parent / "router_vqa.txt"
VQAV2 = (18263, 19380, 4368, 35553, 7378, 10007, 5850, 3440, 3155)
"""Table 7 of the paper, by category."""


def paper() -> NDArray[np.float64]:
    return np.array(VQAV2) / sum(VQAV2)


def shares(router: Path = SHIPPED) -> NDArray[np.float64]:
    """Of the nine categories, at the prior's threshold."""
    chosen = load_router(router, CATEGORY_NAMES, PRIOR_THRESHOLD)
    routed = [chosen.route(prompt.text).category for prompt in read_prompts(QUESTIONS)]
    return np.bincount(routed, minlength=len(CATEGORY_NAMES)) / len(routed)


@click.command()
@click.option("--router", type=click.Path(path_type=Path), default=SHIPPED)
def main(router: Path) -> None:
    print("| category | VQAv2, Table 7 | router |\n|---|---|---|")
    for name, theirs, ours in zip(CATEGORY_NAMES, paper(), shares(router), strict=True):
        print(f"| {name} | {theirs:.1%} | {ours:.1%} |")


if __name__ == "__main__":
    main()
