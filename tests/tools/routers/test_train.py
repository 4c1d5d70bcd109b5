"""Training end to end on few prompts, and what the shipped router was measured to do."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from clasp_trt.errors import DataError, OutputError, RouterError
from clasp_trt.policy import CATEGORY_NAMES, PRIOR_THRESHOLD
from clasp_trt.runtime.routing.folder import SHIPPED, RouterSpec
from clasp_trt.runtime.routing.learned import LearnedRouter
from clasp_trt.runtime.routing.model import RouterModel
from clasp_trt.runtime.routing.router import Route
from clasp_trt.tools.routers import metrics, prompts
from clasp_trt.tools.routers.bags import Bags
from clasp_trt.tools.routers.linear import Training
from clasp_trt.tools.routers.phrases import Phrases
from clasp_trt.tools.routers.prompts import HELD_OUT, TRAIN, VALIDATION, Labelled, generate
from clasp_trt.tools.routers.train import PER_CATEGORY, Trained, phrases_sha256, save, train

FEW = {TRAIN: 1, VALIDATION: 1, HELD_OUT: 1}
MEASURED_ON = "f48072822b33be0e87975adb5359730655b02a6fc25de08bd550449e2b35970f"
ACCURACY = 0.93  # of the nine categories without the kinds below; the goal was 0.92
GOALS = {
    "a thing named by its place": 0.85,
    "a thing named by what is done with it": 0.85,
    "the place is asked": 0.85,
    "the action is asked": 0.85,
    "torn between two": 0.7,
}
"""Of the kinds that a category's figure would hide, at the prior's threshold."""


def small(data: Path | None = None, seed: int = 0) -> Trained:
    """A router of few prompts: one for each template, however many phrasings it stands for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompts, "_MOST_WORDINGS", 1)
        return train(data, seed=seed, buckets=2**12, per_category=FEW, training=Training(epochs=2))


@pytest.fixture(scope="module")
def trained() -> Trained:
    return small()


@pytest.mark.full
def test_equal_seeds_give_equal_bytes(trained: Trained) -> None:
    again = small()
    assert again.graph == trained.graph
    assert again.model.dumps() == trained.model.dumps()
    assert small(seed=1).graph != trained.graph


@pytest.mark.full
def test_a_saved_router_routes(trained: Trained, tmp_path: Path) -> None:
    save(trained, tmp_path / "made" / "here")
    router = LearnedRouter.load(tmp_path / "made" / "here")
    assert router.route("how many dogs are there?").name == "counting"
    save(trained, tmp_path / "made" / "here")  # over an older one
    assert {path.name for path in (tmp_path / "made" / "here").iterdir()} == {"router.onnx", "router.json"}


@pytest.mark.full
def test_the_graph_computes_what_training_did(trained: Trained, tmp_path: Path) -> None:
    save(trained, tmp_path)
    router = LearnedRouter.load(tmp_path)
    values = router.route("what is the man doing?").probabilities
    session = router._session
    bag = Bags.of(["what is the man doing?"], 2**12)
    probabilities, evidence = session.run(None, {"ids": bag.ids, "weights": bag.weights})
    assert np.allclose(probabilities, values)
    assert evidence.shape == (len(bag.ids), len(CATEGORY_NAMES))


@pytest.mark.full
def test_ones_own_prompts_and_categories(tmp_path: Path) -> None:
    rows = [{"prompt": f"is part {number} cracked", "category": "defects"} for number in range(60)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    made = small(tmp_path / "mine.jsonl")
    assert made.model.categories == (*CATEGORY_NAMES[:-1], "defects", "default")
    save(made, tmp_path)
    assert LearnedRouter.load(tmp_path).route("is part 99 cracked").name == "defects"
    categories = made.model.metrics["categories"]
    assert isinstance(categories, dict)
    assert 0 < categories["defects"]["prompts"] < 30


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ('{"prompt": "x"}', ":1: has no category"),
        ('{"prompt": "x", "category": "a"}\n{', ":2: not JSON"),
        ('{"prompt": "x", "category": " "}', ":1: category: expected a string that is not empty"),
        ('{"prompt": 1, "category": "a"}', ":1: prompt: expected a string"),
    ],
)
def test_a_fault_in_the_data_names_its_line(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "mine.jsonl").write_text(text, "utf-8")
    with pytest.raises(DataError) as caught:
        small(tmp_path / "mine.jsonl")
    assert expected in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        small(tmp_path / "missing.jsonl")


@pytest.mark.full
def test_a_category_without_training_prompts(tmp_path: Path) -> None:
    held_out = next(text for text in map(str, range(100)) if _part(text) == HELD_OUT)
    (tmp_path / "mine.jsonl").write_text(json.dumps({"prompt": held_out, "category": "rare"}), "utf-8")
    with pytest.raises(RouterError, match="'rare'"):
        small(tmp_path / "mine.jsonl")


def _part(text: str) -> str:
    from clasp_trt.tools.routers.prompts import part_of

    return part_of(text)


@pytest.mark.full
def test_a_destination_that_is_a_file(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="name a folder"):
        save(trained, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_the_shipped_router_was_trained_on_the_shipped_phrases() -> None:
    model = RouterModel.of(RouterSpec.read(SHIPPED))
    assert model.provenance["phrases_sha256"] == phrases_sha256(), "run `clasp-trt router train` into assets/router"
    assert model.categories == CATEGORY_NAMES


@pytest.fixture(scope="module")
def held_out() -> tuple[Labelled, ...]:
    return generate(Phrases.load(), per_category={**PER_CATEGORY, TRAIN: 0}, seed=0)[HELD_OUT]


@pytest.fixture(scope="module")
def routes(held_out: tuple[Labelled, ...]) -> list[Route]:
    router = LearnedRouter.load(SHIPPED)
    return [router.route(item.prompt) for item in held_out]


@pytest.mark.full
def test_the_held_out_prompts_are_those_of_the_figures(held_out: tuple[Labelled, ...]) -> None:
    text = "\n".join(item.prompt for item in held_out)
    assert hashlib.sha256(text.encode()).hexdigest() == MEASURED_ON, "older figures do not compare"


@pytest.mark.full
def test_the_shipped_router_on_held_out_phrasings(held_out: tuple[Labelled, ...], routes: list[Route]) -> None:
    """Computed here, not read from the file; and the file tells the same."""
    kinds = Phrases.load().kinds
    right = np.array([route.name == item.category for route, item in zip(routes, held_out, strict=True)])
    assert np.mean(right[[item.source not in kinds for item in held_out]]) >= ACCURACY
    measured = RouterModel.of(RouterSpec.read(SHIPPED)).metrics["accuracy"]
    assert np.mean(right) == pytest.approx(measured, abs=0.003)  # overrides decide a few
    values = np.array([route.probabilities for route in routes[::7]])
    names = np.array([CATEGORY_NAMES.index(item.category) for item in held_out[::7]])
    assert metrics.calibration_error(values, names) < 0.05


@pytest.mark.full
@pytest.mark.parametrize("kind", GOALS)
def test_the_shipped_router_on_a_kind(kind: str, held_out: tuple[Labelled, ...], routes: list[Route]) -> None:
    kinds = Phrases.load().kinds
    own = [(route, item) for route, item in zip(routes, held_out, strict=True) if kinds.get(item.source) == kind]
    default = CATEGORY_NAMES[-1]
    decided = [route.name if max(route.probabilities) >= PRIOR_THRESHOLD else default for route, _ in own]
    right = np.mean([name == item.category for name, (_, item) in zip(decided, own, strict=True)])
    assert right >= GOALS[kind]
    told = RouterModel.of(RouterSpec.read(SHIPPED)).metrics["kinds"]
    assert isinstance(told, dict)
    assert right == pytest.approx(told[kind]["right"], abs=0.01)
