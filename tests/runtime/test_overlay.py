"""The picture of kept tokens: the right colours in the right cells, at any grid, and nothing half-written."""

from __future__ import annotations

from math import isqrt
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from PIL import Image

from clasp_trt import schedule as schedules
from clasp_trt.errors import OutputError
from clasp_trt.methods import DEFAULT
from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.runtime import overlay as module
from clasp_trt.runtime.media.seen import Block, Seen
from clasp_trt.runtime.overlay import MEDOID, PIVOT, check_destination, overlay, save_overlay
from clasp_trt.runtime.pipeline import Pipeline
from clasp_trt.runtime.result import Kept, Result
from clasp_trt.runtime.routing.router import forced
from clasp_trt.schedule import Schedule
from tests.prompts import boxes

GREEN = (0, 160, 0)


def result(*kept: Kept, tokens: int = 16) -> Result:
    route = forced(CATEGORY_NAMES, 5)
    return Result(
        text="", token_ids=(1,), finish_reason="stop", route=route, kept=kept, prompt_tokens=20, visual_tokens=tokens,
        timings_ms={}, tpot_ms=(),
    )  # fmt: skip


def seen(tokens: int, view: Image.Image) -> Seen:
    """A square of tokens that covers ``view``."""
    grid = isqrt(tokens)
    return Seen({}, {}, (Block(tokens, (1, grid, grid), boxes(grid, view.width / grid)),), view)


def stages(schedule: Schedule, seed: int = 0) -> tuple[Kept, ...]:
    """Random choices as a schedule asks for them, a third of each medoids."""
    rng = np.random.default_rng(seed)
    left, kept = np.arange(schedule.tokens), []
    for stage in schedule.stages:
        left = np.sort(rng.choice(left, stage.keep, replace=False))
        kept.append(Kept(stage.after_layer, left, rng.permutation(stage.keep) >= stage.keep // 3))
    return tuple(kept)


def panels(sheet: Image.Image, grid: int, count: int) -> list[np.ndarray]:
    """The pixels of each panel, as ``[grid, grid, cell, cell, 3]``."""
    cell = max(6, round(448 / grid))
    side, top = grid * cell, 20 + 2 * 24 + 16
    found = []
    for number in range(count):
        left = 20 + number * (side + 16)
        pixels = np.asarray(sheet)[top : top + side, left : left + side]
        found.append(pixels.reshape(grid, cell, grid, cell, 3).swapaxes(1, 2))
    return found


@pytest.mark.parametrize("grid", [2, 8, 24, 27, 100])
def test_each_cell_has_the_colour_of_its_fate(grid: int) -> None:
    tokens = grid * grid
    schedule = schedules.given(tokens, 8, (tokens - 1, tokens // 2, 1), (0, 1, 2))
    kept = stages(schedule)
    sheet = overlay([seen(tokens, Image.new("RGB", (50, 50), GREEN))], result(*kept), schedule)
    whole, *drawn = panels(sheet, grid, 4)
    assert (whole == GREEN).all()
    middle = whole.shape[2] // 2
    for panel, stage in zip(drawn, kept, strict=True):
        fate = {int(i): PIVOT if pivot else MEDOID for i, pivot in zip(stage.indices, stage.is_pivot, strict=True)}
        for token in range(tokens):
            cell = panel[token // grid, token % grid]
            edges = np.concatenate([cell[0], cell[-1], cell[:, 0], cell[:, -1]])
            if token in fate:
                assert (edges == fate[token]).all()
                inside = cell[middle, middle].astype(int)
                assert inside[1] > inside[0]  # the photograph shows through the tint
                assert inside[1] > inside[2]
            else:
                assert (cell == cell[0, 0]).all()
                assert len(set(cell[0, 0].tolist())) == 1  # grey
                assert cell[0, 0, 0] > 160  # and faint


def test_photograph_is_shown_where_it_is(photos: dict[str, Path]) -> None:
    """The whole view is the first panel; kept cells show their own part of it."""
    view = Image.open(photos["astronaut"]).convert("RGB").resize((112, 112))
    schedule = schedules.given(64, 8, (10,), (0,))
    (kept,) = stages(schedule)
    whole, drawn = panels(overlay([seen(64, view)], result(kept), schedule), 8, 2)
    frame = round(whole.shape[2] / 10)
    inner = slice(frame, -frame)
    for index, pivot in zip(kept.indices, kept.is_pivot, strict=True):
        plain = whole[index // 8, index % 8][inner, inner].astype(float)
        tinted = drawn[index // 8, index % 8][inner, inner].astype(float)
        expected = plain * 0.82 + 0.18 * np.array(PIVOT if pivot else MEDOID)
        assert np.abs(tinted - expected).max() <= 1  # rounding to whole grey levels


def test_tokens_without_a_place_are_kept_unseen() -> None:
    """A view that is not square, with two tokens of a newline among four: one of each is kept."""
    places = np.array([[0, 0, 8, 8], [8, 0, 16, 8], [np.nan] * 4, [0, 8, 8, 16], [8, 8, 16, 16], [np.nan] * 4])
    block = Block(6, (1, 2, 3), places.astype(np.float32))
    schedule = schedules.given(6, 8, (2,), (0,))
    kept = Kept(0, np.array([2, 4]), np.array([True, False]))
    sheet = overlay([Seen({}, {}, (block,), Image.new("RGB", (24, 16), GREEN))], result(kept), schedule)
    drawn = np.asarray(sheet)[84 : 84 + 298, 20 + 447 + 16 : -20]  # three cells of 149 pixels across, two down
    assert drawn.shape == (298, 447, 3)
    framed = (drawn == MEDOID).all(axis=2)
    rows, columns = np.nonzero(framed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (149, 297, 149, 297)
    assert not (drawn == PIVOT).all(axis=2).any()


def test_each_picture_has_a_row_of_its_own_tokens() -> None:
    views = [seen(16, Image.new("RGB", (8, 8), GREEN)), seen(4, Image.new("RGB", (8, 8), (90, 90, 90)))]
    kept = Kept(0, np.array([3, 17, 19]), np.array([False, True, False]))
    drawn = np.asarray(overlay(views, result(kept, tokens=20), schedules.given(20, 8, (3,), (0,))))
    below = 84 + 448 + 2 * 24 + 16  # where the second row begins
    for top, grid, colours in ((84, 4, {3: MEDOID}), (below, 2, {1: PIVOT, 3: MEDOID})):
        cell = 448 // grid
        panel = drawn[top : top + 448, 20 + 448 + 16 : 20 + 2 * 448 + 16]
        for token in range(grid * grid):
            row, column = divmod(token, grid)
            corner = tuple(panel[row * cell, column * cell].tolist())
            assert (corner if corner in (PIVOT, MEDOID) else None) == colours.get(token)


def test_unpruned_is_one_panel_without_legend() -> None:
    schedule = schedules.none(64, 8)
    sheet = overlay([seen(64, Image.new("RGB", (8, 8), GREEN))], result(), schedule)
    colours = {colour for _, colour in sheet.getcolors(1 << 24) or []}
    assert GREEN in colours
    assert not {PIVOT, MEDOID} & colours
    assert sheet.width == 2 * 20 + 448


def texts(monkeypatch: pytest.MonkeyPatch, schedule: Schedule, *kept: Kept) -> list[str]:
    """What is written on the sheet."""
    from PIL import ImageDraw

    written: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def note(self: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, *rest: object) -> None:
        written.append(text)
        draw(self, xy, text, *rest)  # type: ignore[arg-type]
        assert self.textbbox(xy, text, rest[1])[2] <= self.im.size[0]  # type: ignore[arg-type]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    overlay([seen(schedule.tokens, Image.new("RGB", (8, 8)))], result(*kept, tokens=schedule.tokens), schedule)
    return written


def test_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = schedules.solve(576, 32, 192)
    written = texts(monkeypatch, schedule, *stages(schedule))
    mean = f"{schedule.mean_tokens:.4g}"
    assert written[:4] == [
        "counting",
        f"{mean} of 576 visual tokens, averaged over 32 layers",
        "what the model sees",
        "576 visual tokens",
    ]
    assert written[4:6] == ["after layer 2", "300 of 576: 200 pivots, 100 medoids"]
    assert [text.split(":")[0] for text in written[-2:]] == ["pivot", "medoid"]


def test_captions_of_one_token_before_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = schedules.encoder(64, 8, 1)
    kept = Kept(-1, np.array([5]), np.array([True]))
    assert texts(monkeypatch, schedule, kept)[4:] == [
        "before the decoder",
        "1 of 64: 1 pivot",
        "pivot: attended to most",
    ]


@pytest.mark.parametrize("name", ["kept", "kept.txt", "kept.svg", "no/such/kept.png", "folder.png"])
def test_destinations_that_cannot_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError):
        check_destination(tmp_path / name)


def pipeline(schedule: Schedule) -> Pipeline:
    bundle = SimpleNamespace(manifest=SimpleNamespace(schedule=schedule))
    return cast(Pipeline, SimpleNamespace(see=lambda image, several: seen(16, image), bundle=bundle, method=DEFAULT))


@pytest.mark.parametrize("name", ["kept.png", "kept.JPG", "kept.webp"])
def test_saved_picture_is_readable(tmp_path: Path, name: str) -> None:
    schedule = schedules.none(16, 4)
    save_overlay(tmp_path / name, [Image.new("RGB", (8, 8))], result(), pipeline(schedule))
    with Image.open(tmp_path / name) as picture:
        picture.load()
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_failed_write_keeps_the_earlier_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept.png").write_bytes(b"earlier")

    def full(self: Image.Image, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.Image.Image, "save", full)
    with pytest.raises(OutputError, match=r"kept\.png.*No space left"):
        save_overlay(tmp_path / "kept.png", [Image.new("RGB", (8, 8))], result(), pipeline(schedules.none(16, 4)))
    assert (tmp_path / "kept.png").read_bytes() == b"earlier"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.png"]


def test_a_clip_is_a_row_for_each_stage_beside_its_pictures() -> None:
    steps = [seen(4, Image.new("RGB", (40, 40), GREEN)) for _ in range(9)]
    first, last = Kept(0, np.array([0, 4, 39]), np.array([True, False, True])), Kept(1, np.array([4]), np.array([True]))
    schedule = schedules.given(40, 8, (3, 1), (0, 1))
    sheet = overlay([seen(4, Image.new("RGB", (40, 40)))], result(first, last, tokens=40), schedule, steps=steps)
    pixels = np.asarray(sheet)
    side, gap, row = 168, 8, 448 + 2 * 24 + 16
    tops = [20 + 2 * 24 + 16 + row + number * (2 * side + gap + 2 * 24 + 16) for number in range(3)]
    whole, *stages = (
        [pixels[top + line * (side + gap) :, 20 + column * (side + gap) :][:side, :side] for line, column in PLACES]
        for top in tops
    )
    assert all((each == GREEN).all() for each in whole)
    framed = [[tuple(each[0, 0]) if not gray(each[0, 0]) else None for each in stage] for stage in stages]
    assert framed[0] == [MEDOID, *[None] * 7, None]
    assert tuple(stages[0][-1][-1, -1]) == PIVOT
    assert framed[1] == [PIVOT, *[None] * 8]


PLACES = [(0, column) for column in range(5)] + [(1, column) for column in range(4)]


def gray(colour: np.ndarray) -> bool:
    return len(set(colour.tolist())) == 1
