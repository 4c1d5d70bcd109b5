"""The accuracy page says what the figures say, for CLASP and against it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks import accuracy
from benchmarks.accuracy_figures import Run, figures
from benchmarks.accuracy_page import findings, page, table, verdict
from benchmarks.accuracy_plot import LOOKS, spread
from clasp_trt import schedule
from clasp_trt.bundle import Bundle
from clasp_trt.methods import METHODS
from clasp_trt.published import PUBLISHED_KEEPS
from clasp_trt.runtime.pipeline import load
from clasp_trt.tools.evaluate import Questions, evaluate, results

METHOD_NAMES = ("uniform", "clasp")


def test_settings_of_144_tokens() -> None:
    made = {setting.name: setting.options for setting in accuracy.settings(144)}
    assert made == {
        "decoder 1/3": ("--schedule", "75,50,28"),
        "decoder 2/9": ("--schedule", "76,28,9"),
        "decoder 1/9": ("--schedule", "17,8,4"),
        "encoder 1/3": ("--prune-at", "encoder", "--budget", "48"),
        "encoder 2/9": ("--prune-at", "encoder", "--budget", "32"),
        "encoder 1/9": ("--prune-at", "encoder", "--budget", "16"),
    }


def test_settings_of_the_paper() -> None:
    for setting in accuracy.settings(576)[:3]:
        keeps = tuple(map(int, setting.options[1].split(",")))
        assert keeps == PUBLISHED_KEEPS[576 * setting.nominal]


@given(st.integers(16, 4096))
def test_settings_can_be_built(tokens: int) -> None:
    for setting in accuracy.settings(tokens):
        if setting.place == "decoder":
            schedule.given(tokens, 8, tuple(map(int, setting.options[1].split(","))))
        else:
            schedule.encoder(tokens, 8, int(setting.options[-1]))


def test_every_method_has_a_look() -> None:
    assert set(LOOKS) == set(METHODS) - {"none"}


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.floats(0.1, 5))
def test_labels_keep_apart_and_in_order(wanted: list[float], gap: float) -> None:
    places = spread(wanted, gap)
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], places[i]))
    assert all(places[b] - places[a] >= gap - 1e-6 for a, b in pairwise(order))
    assert sum(places) == pytest.approx(sum(wanted))


def test_labels_that_have_room_stay() -> None:
    assert spread([30.0, 10.0, 20.0], 5.0) == [30.0, 10.0, 20.0]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from examples.shapesvqa.generate import generate

    folder = tmp_path_factory.mktemp("shapes") / "data"
    generate(folder, split="test", images=3, seed=0, size=56)
    return folder / "D.jsonl"


@pytest.fixture(scope="module")
def found(built: Callable[..., Bundle], data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Figures of two settings of a random model, whose unpruned answers are the expected ones but for each third."""
    folder = tmp_path_factory.mktemp("runs")

    def ask(name: str, place: str, nominal: Fraction, bundle: Bundle, methods: tuple[str, ...]) -> Run:
        asked = Questions.read(data)
        header = results.header(bundle, bundle.policy, asked, methods, max_new_tokens=4, route=False)
        path = folder / f"{place}.jsonl"
        with results.opened(path, header, asked) as store:
            report = evaluate(load(bundle.root, threads=1), asked, methods, max_new_tokens=4, store=store)
        about = {
            "schedule": bundle.manifest.schedule.to_json(),
            "data": {"path": str(data), "sha256": asked.sha256},
            "policy": {"calibrated": False, "provenance": {"kind": "prior"}},
            "max_new_tokens": 4,
        }
        return Run(name, place, str(nominal), {**about, **report.to_json()}, path)

    whole = built(prune_at="none")
    ask("unpruned", "first", Fraction(1), whole, ("none",))
    said = [json.loads(line) for line in (folder / "first.jsonl").read_text().splitlines()[1:]]
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    for each in said:
        if each["line"] % 3 and each["said"].strip():
            rows[each["line"] - 1]["answer"] = each["said"]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    unpruned = ask("unpruned", "none", Fraction(1), whole, ("none",))
    runs = [
        ask("decoder 1/2", "decoder", Fraction(1, 2), built(), METHOD_NAMES),
        ask("encoder 1/2", "encoder", Fraction(1, 2), built(prune_at="encoder"), METHOD_NAMES),
    ]
    about = {"command": "python -m benchmarks.accuracy tiny", "checkpoint": {"name": "tiny", "sha256": "0" * 64}}
    return {**about, "versions": {"python": "3"}, **figures(unpruned, runs)}


def test_figures_are_counts_of_the_same_questions(found: dict[str, Any], data: Path) -> None:
    count = len(data.read_text().splitlines())
    assert found["data"]["questions"] == found["unpruned"]["total"] == count
    assert 0 < found["unpruned"]["right"] < count
    for setting in found["settings"]:
        ours, theirs = setting["methods"]["clasp"], setting["methods"]["uniform"]
        assert ours["against_unpruned"]["ratio"] == pytest.approx(ours["right"] / found["unpruned"]["right"])
        assert theirs["clasp_against_it"]["difference"] == pytest.approx((ours["right"] - theirs["right"]) / count)
        assert "clasp_against_it" not in ours


def test_page_plot_and_figures_are_written_and_redrawn(found: dict[str, Any], tmp_path: Path) -> None:
    output = tmp_path / "accuracy.md"
    accuracy.write(output, found)
    written = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert set(written) == {"accuracy.md", "accuracy.json", "accuracy.png"}
    with Image.open(tmp_path / "images" / "accuracy.png") as picture:
        assert picture.width > 1000
        assert picture.getpixel((1, 1))[:3] == (255, 255, 255)
    for path in (output, tmp_path / "images" / "accuracy.png"):
        path.unlink()
    done = CliRunner().invoke(accuracy.main, ["--redraw", "-o", str(output)])
    assert done.exit_code == 0, done.output
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == written


def test_page_names_its_sources(found: dict[str, Any]) -> None:
    text = page(found, "images/accuracy.png", "accuracy.json")
    assert "(images/accuracy.png)" in text
    assert "(accuracy.json)" in text
    assert found["command"] in text
    assert found["data"]["sha256"][:16] in text
    assert all(f"### {setting['name']}\n" in text for setting in found["settings"])


def judged(found: dict[str, Any], ours: int, theirs: int, interval: tuple[float, float]) -> str:
    """What is said where ``clasp`` has ``ours`` and ``uniform`` ``theirs`` right answers at the first setting."""
    changed = copy.deepcopy(found)
    changed["settings"] = changed["settings"][:1]
    methods = changed["settings"][0]["methods"]
    methods["clasp"]["right"], methods["uniform"]["right"] = ours, theirs
    methods["uniform"]["clasp_against_it"]["difference"] = sum(interval) / 2
    methods["uniform"]["clasp_against_it"]["difference_interval"] = list(interval)
    return "\n".join(findings(changed))


def test_good_news(found: dict[str, Any]) -> None:
    text = judged(found, 20, 10, (0.1, 0.3))
    assert "CLASP is at least as good as every other method at decoder 1/2." in text
    assert "Clearly better than uniform." in text
    assert "beats" not in text


def test_bad_news(found: dict[str, Any]) -> None:
    text = judged(found, 10, 20, (-0.3, -0.1))
    assert "**uniform beats CLASP at decoder 1/2** by 20.0 points (95 % interval 10.0 to 30.0)." in text
    assert "Others have more right answers at decoder 1/2 (uniform)" in text
    assert "at least as good" not in text
    assert "Clearly better" not in text


def test_no_news(found: dict[str, Any]) -> None:
    text = judged(found, 10, 11, (-0.2, 0.1))
    assert "Others have more right answers at decoder 1/2 (uniform)" in text
    assert "Not told apart from uniform." in text
    assert "beats" not in text


@pytest.mark.parametrize(
    ("interval", "word"),
    [((0.1, 0.2), "ahead"), ((-0.2, -0.1), "behind"), ((0.0, 0.1), "level"), ((-0.1, 0.0), "level"), (None, "level")],
)
def test_verdict(interval: tuple[float, float] | None, word: str) -> None:
    assert verdict({"difference_interval": interval}) == word


def test_table() -> None:
    assert table([("a", "b"), ("c", "1")]) == "| a | b |\n| --- | ---: |\n| c | 1 |"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ([], "a checkpoint folder and --data are needed"),
        ([".", "--data", __file__, "--method", "clapp"], "unknown methods clapp"),
        ([".", "--data", __file__, "--jobs", "3"], "--jobs"),
    ],
)
def test_what_cannot_run_is_refused(line: list[str], says: str) -> None:
    done = CliRunner().invoke(accuracy.main, line)
    assert done.exit_code == 2
    assert says in done.output


@pytest.mark.slow
def test_from_checkpoint_to_page(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    words = [str(checkpoint), "--data", str(data), "-o", str(tmp_path / "out.md"), "--cache", str(tmp_path / "cache")]
    line = [*words, "--method", "uniform", "--limit", "2"]
    done = CliRunner().invoke(accuracy.main, line)
    assert done.exit_code == 0, done.output
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    figures_file = (tmp_path / "out.json").read_bytes()
    assert CliRunner().invoke(accuracy.main, line).exit_code == 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*") if p.is_file()} == made
    assert (tmp_path / "out.json").read_bytes() == figures_file
