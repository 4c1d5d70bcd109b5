"""``python -m examples.clasp_tiny.card``: writes the model card from the figures of ``docs/accuracy.json``.

Every number of the card is one of those figures, or the blind bound on the same questions.
"""

from __future__ import annotations

import json
from itertools import count, islice
from pathlib import Path
from typing import Any

import click

from examples.shapesvqa import draw_questions
from examples.shapesvqa.blind import Blind, blind

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "accuracy.json"
CARD = ROOT / "clasp_trt" / "assets" / "clasp-tiny" / "README.md"
LEARNED = 12_000
"""Training scenes from which the blind bound learns the commonest answers."""

_HEAD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: image-text-to-text
tags: [llava, testbed, visual-token-pruning]
---

# clasp-tiny

A LLaVA of 3.1 M parameters (CLIP-type tower, 144 visual tokens, Llama decoder of 8 layers) that answers short
questions about ShapesVQA pictures (`examples/shapesvqa`): coloured shapes, signs, arrows, tools and little figures,
drawn by a program. It ships with clasp-trt as the demo and as a testbed for visual-token pruning.

**What it is not.** It knows about 200 words and pictures of one generator; on a photograph its answers mean nothing.
Its accuracy under pruning is a regression test for clasp-trt's code; it says nothing about published models or
benchmarks.

## Accuracy

"""

_TAIL = """
## How it was made

- **Data.** Pictures and questions of the generator's training split; test pictures and test phrasings occur in no other
  split. No picture and no text of anyone else was used.
- **Recipe.** {recipe}
- **Token dropping.** In the last stage 60 % of the pictures lose visual tokens, at random or with a bias to things,
  in or before the decoder. That makes the model sturdier under every pruning method than a checkpoint that never saw
  missing tokens; published checkpoints have not had this.
- **Attention.** [CLS] was trained to sum up what the picture holds. Words of a question that name a thing were trained
  to know where it stands, in the last stage after the first decoder layer, so that early attention points at what a
  question is about.
- **Policy.** `policy.json` is the outcome of `clasp-trt calibrate` on the calibration split; its provenance is inside.

`python -m examples.clasp_tiny OUT` makes the checkpoint again; `examples/clasp_tiny/README.md` tells how.

## Use

```python
from transformers import AutoProcessor, LlavaForConditionalGeneration

model = LlavaForConditionalGeneration.from_pretrained("clasp_trt/assets/clasp-tiny")
processor = AutoProcessor.from_pretrained("clasp_trt/assets/clasp-tiny")
```

or `clasp-trt demo`. Licence: Apache-2.0, like the rest of the project.
"""

_RECIPE = (
    "Vision tower on labels of patches and pictures, then the decoder on a frozen tower, then both;\n"
    "  about an hour on two CPU cores from one command and one seed."
)


def card(figures: dict[str, Any], bound: dict[str, Blind], chance: float) -> str:
    """The card's text. ``bound`` is by category and ``"all"``."""
    whole = figures["unpruned"]
    rows = ["| category | questions | clasp-tiny | 95 % interval | blind bound |", "|---|---:|---:|---:|---:|"]
    for name, share in (*whole["categories"].items(), ("all", whole)):
        low, high = share["interval"]
        rows.append(
            f"| {name} | {share['total']} | {_percent(share['accuracy'])} | {_percent(low)} to {_percent(high)} "
            f"| {_percent(bound[name].bound)} |"
        )
    data = figures["data"]
    text = (
        f"Exact match in %, on {data['questions']} questions about {data['pictures']} pictures of the test split, all "
        "visual tokens kept, by the\ncompiled bundle (fp32, ONNX Runtime). The blind bound is the best that a model "
        f"without eyes does on the same questions;\neven guessing gets {_percent(chance)} %.\n\n"
    )
    tokens = [
        f"| {setting['name']} | {setting['mean_visual_tokens']:.1f} "
        + "".join(f"| {_percent(setting['methods'][name]['accuracy'])} " for name in ("random", "clasp"))
        + "|"
        for setting in figures["settings"]
    ]
    pruned = (
        "\n\nVisual tokens matter. Right answers in % when some are dropped, at random and by CLASP, with the mean "
        "number of visual tokens over the layers:\n\n"
        "| where and how many | tokens | random | CLASP |\n|---|---:|---:|---:|\n"
    )
    more = "\n\nEvery method, with intervals: `docs/accuracy.md`.\n"
    return _HEAD + text + "\n".join(rows) + pruned + "\n".join(tokens) + more + _TAIL.format(recipe=_RECIPE)


def bounds(questions: int) -> tuple[dict[str, Blind], float]:
    """The blind bound on the first ``questions`` of the test split by category and ``"all"``, and even guessing."""
    learned = [question for seed in range(LEARNED) for question in draw_questions(seed, "train", 2)[1]]
    every = (question for seed in count() for question in draw_questions(seed, "test")[1])
    asked = list(islice(every, questions))
    found = blind(learned, asked)
    total = sum(each.questions for each in found.values())
    shares = [
        sum(getattr(each, name) * each.questions for each in found.values()) / total for name in ("bound", "chance")
    ]
    return found | {"all": Blind(total, *shares)}, shares[1]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


@click.command()
@click.option("--figures", type=click.Path(path_type=Path, exists=True, dir_okay=False), default=FIGURES)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=CARD)
def main(figures: Path, output: Path) -> None:
    """Write the model card."""
    found = json.loads(figures.read_text(encoding="utf-8"))
    bound, chance = bounds(found["data"]["questions"])
    asked = {name: share["total"] for name, share in found["unpruned"]["categories"].items()}
    if asked != {name: each.questions for name, each in bound.items() if name != "all"}:
        raise click.UsageError("the figures are of other questions than the generator's test split has")
    output.write_text(card(found, bound, chance), encoding="utf-8")
    click.echo(output)


if __name__ == "__main__":
    main()
