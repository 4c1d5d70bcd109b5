"""The demo's picture: what was kept where it was, every text within the page, and ticks only for right answers."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image, ImageDraw

from clasp_trt import schedule as schedules
from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.runtime.media.seen import Block, Seen
from clasp_trt.runtime.overlay import MEDOID, PIVOT
from clasp_trt.runtime.result import Kept, Result
from clasp_trt.runtime.routing.router import forced
from clasp_trt.schedule import Schedule
from clasp_trt.tools.demo import picture as module
from clasp_trt.tools.demo.asking import Asked, Score, score
from clasp_trt.tools.demo.picture import draw
from clasp_trt.tools.evaluate.dataset import Row
from tests.prompts import boxes

GREEN = (0, 160, 0)
SCHEDULES = {
    "unpruned": schedules.none(144, 8),
    "third": schedules.given(144, 8, (75, 50, 28)),
    "ninth": schedules.given(144, 8, (17, 8, 4)),
}


def result(schedule: Schedule, text: str, ttft_ms: float = 1.0) -> Result:
    """An answer for which each stage kept its first tokens, every other one a pivot."""
    kept = tuple(Kept(s.after_layer, np.arange(s.keep), np.arange(s.keep) % 2 == 0) for s in schedule.stages)
    return Result(
        text=text, token_ids=(1,), finish_reason="stop", route=forced(CATEGORY_NAMES, 5), kept=kept,
        prompt_tokens=200, visual_tokens=144, timings_ms={"ttft": ttft_ms}, tpot_ms=(),
    )  # fmt: skip


def asked(
    said: tuple[str, ...] = ("star", "star", "star"),
    *,
    prompt: str = "What is it?",
    plans: Mapping[str, Schedule] = SCHEDULES,
    view: Image.Image | None = None,
) -> Asked:
    row = Row((Path("x.png"),), prompt, "star", "counting", 1)
    results = {name: result(plan, text) for (name, plan), text in zip(plans.items(), said, strict=True)}
    view = view or Image.new("RGB", (144, 144), GREEN)
    grid = isqrt(next(iter(plans.values())).tokens)
    block = Block(grid * grid, (1, grid, grid), boxes(grid, view.width / grid))
    return Asked(row, Seen({}, {}, (block,), view), results)


def colours(sheet: Image.Image) -> set[tuple[int, ...]]:
    return {cast("tuple[int, ...]", colour) for _, colour in sheet.getcolors(1 << 24) or []}


def test_size_follows_the_questions() -> None:
    one, three = (draw("tiny", SCHEDULES, [asked()] * count) for count in (1, 3))
    assert one.width == three.width == 1600
    assert one.height < three.height < 2400


def test_same_answers_same_picture() -> None:
    first, second = (draw("tiny", SCHEDULES, [asked()]) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_every_panel_is_drawn_in_both_colours() -> None:
    layout = module._Layout(list(SCHEDULES.values()), asked().seen)
    pixels = np.asarray(draw("tiny", SCHEDULES, [asked()]))
    for colour in (PIVOT, MEDOID):
        rows, columns = np.nonzero((pixels[: -module._FOOT] == colour).all(axis=2))
        places = (columns - layout.panels) // (layout.panel + module._GAP)
        assert set(places.tolist()) == {0, 1, 2}
        assert rows.max() - rows.min() > layout.row  # both bundles


def test_mark_says_whether_the_answer_is_right() -> None:
    right, wrong = (colours(draw("tiny", SCHEDULES, [asked((said,) * 3)])) for said in ("Star.", "moon"))
    assert module._RIGHT in right
    assert module._WRONG not in right
    assert module._WRONG in wrong
    assert module._RIGHT not in wrong


@pytest.mark.parametrize("words", ["", "w" * 300, "many words " * 30, "two\nlines\tand more\n"])
def test_text_stays_on_the_page(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    plain = ImageDraw.ImageDraw.text
    boxes = []

    def note(self: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, *rest: object, **more: object) -> None:
        boxes.append((text, self.textbbox(xy, text, rest[1], **more), self.im.size))  # type: ignore[arg-type]
        plain(self, xy, text, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    draw("tiny", SCHEDULES, [asked((words,) * 3, prompt=f"What is it? {words}")])
    assert {"54 tokens on average", "24 tokens on average", "all 144 tokens", "17 after layer 0"} <= {
        box[0] for box in boxes
    }
    for text, (left, top, right, bottom), (width, height) in boxes:
        assert left >= 0, text
        assert top >= 0, text
        assert right <= width, text
        assert bottom <= height, text
        assert "\n" not in text


def test_other_models_and_budgets() -> None:
    plans = {"unpruned": schedules.none(576, 32), "budget-64": schedules.solve(576, 32, 64)}
    sheet = draw("llava", plans, [asked(("star", "star"), plans=plans, view=Image.new("RGB", (336, 336)))])
    assert {PIVOT, MEDOID} <= colours(sheet)


def test_score() -> None:
    plan = {"unpruned": SCHEDULES["unpruned"]}
    row = asked().row
    texts_and_times = [("star", 9.0), ("The star.", 1.0), ("moon", 5.0)]
    questions = [Asked(row, asked().seen, {"unpruned": result(plan["unpruned"], *each)}) for each in texts_and_times]
    assert score(questions, "unpruned") == Score(right=2, questions=3, ttft_ms=5.0)
