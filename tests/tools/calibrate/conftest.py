"""A bundle of random weights with three vision layers, and questions whose answers a planted policy gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.policy import Category, Policy
from clasp_trt.tools.calibrate import LEAST, Options
from clasp_trt.tools.calibrate.candidates import changed, scores

PLANTED = "counting"
QUESTIONS = LEAST
TOKENS = 2  # of an answer: random weights never stop by themselves
OPTIONS = Options(QUESTIONS, QUESTIONS, (Decimal("0.5"),), max_new_tokens=TOKENS)


@dataclass(frozen=True)
class Planted:
    """``data`` holds questions of ``PLANTED`` that ``policy`` answers right, few about spatial relations, no others."""

    bundle: Bundle
    data: Path
    policy: Policy


@pytest.fixture(scope="session")
def planted(built: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory) -> Planted:
    from clasp_trt.runtime.pipeline import load
    from examples.shapesvqa.generate import generate

    bundle = built(vision_layers=(1, 2))
    folder = tmp_path_factory.mktemp("questions") / "shapes"
    generate(folder, split="calibration", images=2 * QUESTIONS + 8, seed=0, size=48)
    number = [row.name for row in bundle.policy.categories].index(PLANTED)
    row = Category(PLANTED, scores((0.5, 0, 0.5), bundle.policy.tau), Decimal("0.5"))
    policy = changed(bundle.policy, number, row)
    pipeline = load(bundle.root, threads=1).variant(policy=policy)
    rows, few = list[dict[str, str]](), 0
    for line in (folder / "D.jsonl").read_text().splitlines():
        question = json.loads(line)
        if question["category"] == PLANTED:
            image, prompt = folder / question["image"], question["prompt"]
            question["answer"] = pipeline.generate(image, prompt, max_new_tokens=TOKENS, category=PLANTED).text
        elif question["category"] != "spatial relations" or (few := few + 1) > 5:
            continue
        if question["answer"].strip():
            rows.append(question)
    data = folder / "planted.jsonl"
    data.write_text("".join(json.dumps(question) + "\n" for question in rows))
    return Planted(bundle, data, policy)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that any pipeline is asked, as they are."""
    from clasp_trt.runtime.pipeline import Pipeline

    prompts: list[str] = []
    generate = Pipeline.generate

    def counted(self: Pipeline, image: object, prompt: str, **options: object) -> object:
        prompts.append(prompt)
        return generate(self, image, prompt, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipeline, "generate", counted)
    return prompts
