"""A whole calibration: it finds what was planted, says where its policy comes from, and gives the same bytes again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

import clasp_trt
from clasp_trt.bundle import Bundle
from clasp_trt.errors import BundleError, ClaspError, DataError, OutputError
from clasp_trt.policy import Policy
from clasp_trt.tools.calibrate import Options, Report, calibrate, journal_path
from clasp_trt.tools.calibrate.answers import Answers
from clasp_trt.tools.calibrate.sampling import sample
from clasp_trt.tools.evaluate import dataset
from clasp_trt.tools.evaluate.dataset import Row
from tests.tools.calibrate.conftest import OPTIONS, PLANTED, QUESTIONS, Planted


class Stop(Exception):
    """An interruption."""


@pytest.fixture(scope="module")
def done(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """A calibration that nothing interrupted."""
    output = tmp_path_factory.mktemp("calibrated") / "policy.json"
    return output, calibrate(planted.bundle.root, planted.data, output, OPTIONS, threads=1)


@pytest.mark.full
def test_finds_the_planted_row(planted: Planted, done: tuple[Path, Report]) -> None:
    output, report = done
    policy = Policy.load(output)
    assert policy == report.policy
    assert policy.categories == planted.policy.categories


@pytest.mark.full
def test_report(done: tuple[Path, Report]) -> None:
    lines = {line.category: line for line in done[1].lines}
    found = lines[PLANTED].searched
    assert found is not None
    assert lines[PLANTED].kept is None
    assert (found.search_best.right, found.search_best.total) == (QUESTIONS, QUESTIONS)
    assert found.held_out_best.value == 1 > found.held_out_before.value
    assert found.gain.difference == 1 - found.held_out_before.value
    assert 0 < found.rejected < found.candidates
    assert lines["spatial relations"].kept == "too few questions"
    assert lines["default"].kept == "no questions"
    json.dumps(done[1].to_json(), allow_nan=False)


@pytest.mark.full
def test_provenance(planted: Planted, done: tuple[Path, Report]) -> None:
    policy = Policy.load(done[0])
    assert policy.calibrated
    told = dict(policy.provenance)
    assert len(str(told.pop("data_sha256"))) == 64
    assert "spatial relations (too few questions)" in str(told.pop("kept"))
    assert 0 <= told.pop("held_out_before") < 1  # type: ignore[operator]
    assert told == {
        "kind": "calibrated",
        "model": planted.bundle.manifest.model.name,
        "schedule": planted.bundle.manifest.schedule.describe(),
        "data": "planted.jsonl",
        "questions": QUESTIONS,
        "held_out": QUESTIONS,
        "held_out_after": 1.0,
        "seed": 0,
        "before": "prior",
        "clasp_trt": clasp_trt.__version__,
    }


@pytest.mark.full
def test_policy_serves_the_bundle(planted: Planted, done: tuple[Path, Report]) -> None:
    assert clasp_trt.load(planted.bundle.root, policy=done[0], threads=1).policy.calibrated


@pytest.mark.full
def test_journal_is_gone_at_the_end(done: tuple[Path, Report]) -> None:
    assert [entry.name for entry in done[0].parent.iterdir()] == ["policy.json"]


@pytest.mark.parametrize("moment", [pytest.param(moment, marks=pytest.mark.full) for moment in (1, 200, 350)])
def test_interrupted_it_gives_the_same_bytes(
    planted: Planted, done: tuple[Path, Report], tmp_path: Path, asked: list[str], moment: int
) -> None:
    output = tmp_path / "policy.json"

    def interrupt(phase: str, number: int, total: int) -> None:
        if len(asked) == moment:
            raise Stop

    with pytest.raises(Stop):
        calibrate(planted.bundle.root, planted.data, output, OPTIONS, threads=1, progress=interrupt)
    assert not output.exists()
    assert len(journal_path(output).read_text().splitlines()) == 1 + moment
    calibrate(planted.bundle.root, planted.data, output, OPTIONS, threads=1)
    assert output.read_bytes() == done[0].read_bytes()
    whole = len(asked)
    asked.clear()
    calibrate(planted.bundle.root, planted.data, output, OPTIONS, threads=1, force=True)
    assert len(asked) == whole, "nothing was asked twice"


@pytest.mark.full
def test_memory_for_features_changes_nothing(planted: Planted, done: tuple[Path, Report], tmp_path: Path) -> None:
    calibrate(planted.bundle.root, planted.data, tmp_path / "p.json", OPTIONS, threads=1, cache_mb=0)
    assert (tmp_path / "p.json").read_bytes() == done[0].read_bytes()


@pytest.mark.parametrize("cache_mb", [0, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.full
def test_each_picture_is_encoded_once(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_mb: int
) -> None:
    """In one category even without room to keep features, since all candidates take a question before the next; the
    winner's check, like every later category, finds them only where there is room."""
    from clasp_trt.runtime.pipeline import Pipeline

    encoded: list[object] = []
    encode = Pipeline.encode
    monkeypatch.setattr(Pipeline, "encode", lambda self, image: (encoded.append(image), encode(self, image))[1])
    calibrate(planted.bundle.root, planted.data, tmp_path / "p.json", OPTIONS, threads=1, cache_mb=cache_mb)
    assert len(encoded) == QUESTIONS + QUESTIONS * (1 if cache_mb else 2)
    assert len(set(encoded)) == 2 * QUESTIONS


@pytest.mark.parametrize("gain", [0, pytest.param(-1, marks=pytest.mark.full)])
def test_winner_that_is_no_better_on_held_out_questions_is_not_taken(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gain: int
) -> None:
    """Another ratio wins the search, and on the held-out questions it is right as often as the row's own, or never."""
    rows = [(PLANTED, row) for row in dataset.read(planted.data) if row.category == PLANTED]
    part = sample(rows, [PLANTED], questions=QUESTIONS, held_out=QUESTIONS, seed=OPTIONS.seed)[PLANTED]
    searched = {row.line for row in part.search}

    def right(self: Answers, policy: Policy, category: int, row: Row) -> bool:
        other = policy.categories[category].ratio == Decimal("0.5")
        return other if row.line in searched else gain == 0 or not other

    monkeypatch.setattr(Answers, "right", right)
    report = calibrate(planted.bundle.root, planted.data, tmp_path / "p.json", OPTIONS, threads=1)
    line = next(line for line in report.lines if line.category == PLANTED)
    assert line.searched is not None
    assert (line.searched.search_best.value, line.searched.gain.difference) == (1, gain)
    assert line.kept == "no better on held-out questions"
    assert report.policy.categories == planted.bundle.policy.categories
    assert "counting (no better on held-out questions)" in str(report.policy.provenance["kept"])


def refused(error: type[ClaspError], match: str, planted: Planted, output: Path, **options: object) -> None:
    """The call is refused with one line and leaves nothing behind."""
    before = sorted(output.parent.iterdir()) if output.parent.is_dir() else None
    taken = {"bundle": planted.bundle.root, "data": planted.data, "options": OPTIONS, "threads": 1, **options}
    with pytest.raises(error, match=match):
        calibrate(output=output, **taken)  # type: ignore[arg-type]
    assert before is None or sorted(output.parent.iterdir()) == before


def test_too_few_questions_are_refused(planted: Planted, tmp_path: Path) -> None:
    few = planted.data.with_name("few.jsonl")
    few.write_text("".join(planted.data.read_text().splitlines(keepends=True)[:10]))
    refused(DataError, "no category has 20 questions to search on", planted, tmp_path / "p.json", data=few)
    with pytest.raises(DataError, match="--held-out is 3"):
        Options(held_out=3)


def test_category_that_the_policy_lacks(planted: Planted, tmp_path: Path) -> None:
    rows = planted.data.read_text().splitlines()
    wrong = planted.data.with_name("wrong.jsonl")
    wrong.write_text("\n".join([*rows[:2], json.dumps({**json.loads(rows[2]), "category": "dogs"})]) + "\n")
    refused(DataError, r"wrong.jsonl:3: category 'dogs'", planted, tmp_path / "p.json", data=wrong)


def test_pictures_that_are_none_name_their_line(planted: Planted, tmp_path: Path) -> None:
    folder = shutil.copytree(planted.data.parent, tmp_path / "data")
    for picture in (folder / "images").iterdir():
        picture.write_bytes(b"no picture")
    refused(DataError, r"planted\.jsonl:\d+: ", planted, tmp_path / "p.json", data=folder / "planted.jsonl")


@pytest.mark.full
def test_answers_of_another_run_are_not_taken(planted: Planted, tmp_path: Path, asked: list[str]) -> None:
    output = tmp_path / "p.json"

    def interrupt(phase: str, number: int, total: int) -> None:
        if len(asked) == 1:
            raise Stop

    with pytest.raises(Stop):
        calibrate(planted.bundle.root, planted.data, output, OPTIONS, threads=1, progress=interrupt)
    other = replace(OPTIONS, seed=1)
    refused(OutputError, "with other pictures and options; .* --restart", planted, output, options=other)
    calibrate(planted.bundle.root, planted.data, output, other, threads=1, restart=True)
    assert not journal_path(output).exists()


def test_destinations(planted: Planted, tmp_path: Path) -> None:
    (tmp_path / "there.json").write_text("mine")
    refused(OutputError, "exists; replace it with --force", planted, tmp_path / "there.json")
    refused(OutputError, "make it first", planted, tmp_path / "no" / "p.json")
    refused(OutputError, "is a folder; name a file", planted, tmp_path)
    refused(OutputError, "lies in the bundle", planted, planted.bundle.root / "policy.json", force=True)
    assert (tmp_path / "there.json").read_text() == "mine"


def test_bundle_with_nothing_to_choose(built: Callable[..., Bundle], planted: Planted, tmp_path: Path) -> None:
    bare = built(prune_at="none")
    refused(BundleError, "nothing to calibrate; build it with", planted, tmp_path / "p.json", bundle=bare.root)
