"""Labels of a file: every row, in its order, the same after an interruption, and nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from clasp_trt.errors import DataError, OutputError
from clasp_trt.storage.journal import journal_path
from clasp_trt.tools.routers import language_model
from clasp_trt.tools.routers.labelling import label
from clasp_trt.tools.routers.language_model import LanguageModel
from clasp_trt.tools.routers.prompt_files import read_prompts
from tests.tools.routers.models import save_language_model

NAMES = ("ab", "de", "default")
PROMPTS = [f"prompt {at} 这" for at in range(6)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_language_model(tmp_path_factory.mktemp("model") / "llama"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("\n\n".join(PROMPTS))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_prompt_in_its_order(model: str, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "labelled.jsonl"
    steps: list[tuple[str, int, int]] = []
    counts = label(model, data, output, NAMES, {}, progress=lambda *step: steps.append(step))
    rows = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    judge = LanguageModel.load(model, NAMES, {})
    for row, prompt in zip(rows, PROMPTS, strict=True):
        shares = judge.probabilities(prompt)
        best = shares.index(max(shares))
        assert row == {"prompt": prompt, "category": NAMES[best], "confidence": round(shares[best], 6)}
    assert counts == {name: sum(row["category"] == name for row in rows) for name in NAMES}
    assert steps == [("label", done, 6) for done in range(7)]
    assert names(tmp_path) == ["labelled.jsonl", "prompts.txt"]
    assert [prompt.category for prompt in read_prompts(output)] == [row["category"] for row in rows]


def test_interrupted_it_goes_on(model: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tmp_path / "whole.jsonl"
    label(model, data, whole, NAMES, {})
    output = tmp_path / "labelled.jsonl"
    real, asked = LanguageModel.probabilities, 0

    def stopped(self: LanguageModel, prompt: str) -> tuple[float, ...]:
        nonlocal asked
        asked += 1
        if asked == 4:
            raise KeyboardInterrupt
        return real(self, prompt)

    monkeypatch.setattr(LanguageModel, "probabilities", stopped)
    with pytest.raises(KeyboardInterrupt):
        label(model, data, output, NAMES, {})
    assert not output.exists()
    assert journal_path(output).read_text().count("\n") == 4  # the head, and what was labelled
    label(model, data, output, NAMES, {})
    assert asked == 4 + 3
    assert output.read_bytes() == whole.read_bytes()
    assert not journal_path(output).exists()


def test_another_run_is_refused_and_loses_nothing(
    model: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "labelled.jsonl"
    monkeypatch.setattr(LanguageModel, "probabilities", once := Once())
    with pytest.raises(KeyboardInterrupt):
        label(model, data, output, NAMES, {})
    kept = journal_path(output).read_bytes()
    for change, expected in (
        ({"definitions": {"ab": "x"}}, "with other categories; repeat that command"),
        ({"categories": ("ab", "default")}, "with other categories"),
    ):
        arguments = {"categories": NAMES, "definitions": {}, **change}
        with pytest.raises(OutputError, match=expected):
            label(model, data, output, **arguments)  # type: ignore[arg-type]
    monkeypatch.setattr(language_model, "fingerprint", lambda _: "another")
    with pytest.raises(OutputError, match="with other model"):
        label(model, data, output, NAMES, {})
    data.write_text("other")
    with pytest.raises(OutputError, match="with other model and data"):
        label(model, data, output, NAMES, {})
    assert journal_path(output).read_bytes() == kept
    assert label(model, data, output, NAMES, {}, restart=True) == {"ab": 1, "de": 0, "default": 0}
    assert once.asked == 3


class Once:
    """Labels, but for its second call, which is an interruption."""

    asked = 0

    def __call__(self, prompt: str) -> Sequence[float]:
        self.asked += 1
        if self.asked == 2:
            raise KeyboardInterrupt
        return (0.5, 0.3, 0.2)


def test_refused_before_the_model_is_read(
    model: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LanguageModel, "load", lambda *_, **__: pytest.fail("loaded"))
    there = tmp_path / "there.jsonl"
    there.write_text("mine")
    with pytest.raises(OutputError, match=r"--force"):
        label(model, data, there, NAMES, {})
    with pytest.raises(OutputError, match="is a folder"):
        label(model, data, tmp_path, NAMES, {})
    with pytest.raises(OutputError, match="make it first"):
        label(model, data, tmp_path / "no" / "x.jsonl", NAMES, {})
    with pytest.raises(DataError, match="cannot be read"):
        label(model, tmp_path / "none.txt", tmp_path / "x.jsonl", NAMES, {})
    assert there.read_text() == "mine"
    assert names(tmp_path) == ["prompts.txt", "there.jsonl"]
