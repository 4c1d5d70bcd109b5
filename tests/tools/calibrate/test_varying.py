"""A calibration on pictures that differ in their number of tokens, alone and two in a question."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clasp_trt.bundle import Bundle
from clasp_trt.policy import Category, Policy
from clasp_trt.runtime.pipeline import load
from clasp_trt.tools.calibrate import LEAST, Options, calibrate
from clasp_trt.tools.calibrate.answers import Answers
from clasp_trt.tools.calibrate.candidates import changed, scores
from clasp_trt.tools.evaluate.dataset import Row

PLANTED, PROMPT, TOKENS = "counting", "How many?", 2


def pictures(folder: Path) -> list[Path]:
    """Of 4, 12 and 30 tokens in turn, each another one."""
    draw = np.random.default_rng(0)
    found = []
    for number in range(2 * LEAST + 8):
        height, width = ((56, 56), (84, 112), (140, 168))[number % 3]
        found.append(folder / f"{number}.png")
        Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(found[-1])
    return found


@pytest.mark.full
def test_finds_the_planted_row(varying: Bundle, tmp_path: Path) -> None:
    number = [row.name for row in varying.policy.categories].index(PLANTED)
    row = Category(PLANTED, scores((0.5, 0.5), varying.policy.tau), Decimal("0.9"))
    planted = changed(varying.policy, number, row)
    shown, rows = pictures(tmp_path), list[dict[str, object]]()
    with load(varying.root, policy=None, threads=1).variant(policy=planted) as pipeline:
        for place, image in enumerate(shown):
            images = [image, shown[place - 1]] if place % 4 == 3 else [image]
            answer = pipeline.generate(images, PROMPT, max_new_tokens=TOKENS, category=PLANTED)  # type: ignore[arg-type]
            if answer.text.strip():
                rows.append({"image": [str(each) for each in images], "prompt": PROMPT, "answer": answer.text})
    data = tmp_path / "D.jsonl"
    data.write_text("".join(json.dumps({**each, "category": PLANTED}) + "\n" for each in rows))
    options = Options(LEAST, LEAST, (Decimal("0.9"),), max_new_tokens=TOKENS)
    report = calibrate(varying.root, data, tmp_path / "policy.json", options, threads=1)
    assert Policy.load(tmp_path / "policy.json").categories == planted.categories
    found = next(line.searched for line in report.lines if line.category == PLANTED)
    assert found is not None
    assert found.held_out_best.value == 1 > found.held_out_before.value


def test_features_are_kept_by_their_size(varying: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for the features of 46 tokens holds pictures of 4, 12 and 30, and no other."""
    from clasp_trt.runtime.pipeline import Pipeline

    shown, encoded = pictures(tmp_path)[:4], list[object]()
    encode = Pipeline.encode
    with load(varying.root, threads=1) as pipeline:
        room = sum(pipeline.encode(image).nbytes for image in shown[:3])
        monkeypatch.setattr(Pipeline, "encode", lambda self, image: (encoded.append(image), encode(self, image))[1])
        answers = Answers(pipeline, "D.jsonl", max_new_tokens=1, cache_bytes=room)
        for first, second in (shown[:2], shown[2:]) * 2:
            answers.right(varying.policy, 0, Row((first, second), PROMPT, "cup", None, 1))
    assert encoded == [*shown, shown[3]]
