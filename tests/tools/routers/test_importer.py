"""A classifier becomes a router folder, whole or not at all, and only with a category for each label."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from clasp_trt.errors import OutputError, RouterError
from clasp_trt.export.classifier import Classifier
from clasp_trt.policy import CATEGORY_NAMES
from clasp_trt.runtime.routing.classifier import Framing
from clasp_trt.runtime.routing.folder import RouterSpec, load_router
from clasp_trt.runtime.text.tokenizer import Tokenizer
from clasp_trt.tools.routers import importer
from clasp_trt.tools.routers.importer import import_classifier
from tests.tools.routers.models import POSITIONS, save_classifier

MINE = ("dents", "labels", "default")


def test_what_is_written(router: Path) -> None:
    assert sorted(path.name for path in router.iterdir()) == ["router.json", "router.onnx", "router.tokenizer.json"]
    spec = RouterSpec.read(router)
    assert (spec.kind, spec.categories) == ("classifier", CATEGORY_NAMES)
    assert spec.fields == {
        "labels": ["counting", "text / symbol recognition", "default"],
        "max_tokens": POSITIONS - 2,
        "source": "tiny-bert",
    }
    assert set(spec.unreached) == set(CATEGORY_NAMES[:-1]) - {"counting", "text / symbol recognition"}


@pytest.mark.parametrize("prompt", ["how many dogs are there?", "what does the sign say?", "two red cat"])
def test_the_router_says_what_the_model_says(classifier: Path, router: Path, prompt: str) -> None:
    """By torch: the tokenizer's ids, softmax, and labels summed into categories. float32 both: 1e-6 apart at most."""
    ids = Framing(Tokenizer.from_file(classifier / "tokenizer.json"), POSITIONS).encode(prompt)
    shares = torch.softmax(Classifier.open(str(classifier)).logits(torch.tensor([ids])).double(), -1)[0].tolist()
    expected = dict.fromkeys(CATEGORY_NAMES, 0.0)
    expected |= {"counting": shares[0], "text / symbol recognition": shares[1], "default": shares[2]}
    found = load_router(router, CATEGORY_NAMES, 0.5).route(prompt)
    assert found.probabilities == pytest.approx(tuple(expected.values()), abs=1e-6)


@pytest.mark.full
def test_labels_that_are_categories_need_no_map(tmp_path: Path) -> None:
    model = save_classifier(tmp_path / "model", ["labels", "dents", "default", "scratch"])
    import_classifier(str(model), tmp_path / "router", MINE, mapping={"scratch": "dents"}, max_tokens=16)
    spec = RouterSpec.read(tmp_path / "router")
    assert spec.fields["labels"] == ["labels", "dents", "default", "dents"]
    assert spec.fields["max_tokens"] == 16
    assert spec.unreached == ()


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({}, "the labels OTHER are no categories; say with --map 'LABEL=CATEGORY' for each what it stands for, of obj"),
        ({"OTHERS": "default"}, "--map OTHERS=default: the model has no such label; it has counting, text"),
        ({"OTHER": "defects"}, "--map OTHER=defects: there is no such category; there are object identification"),
    ],
)
def test_labels_without_a_category(classifier: Path, tmp_path: Path, mapping: dict[str, str], expected: str) -> None:
    with pytest.raises(RouterError, match=expected):
        import_classifier(str(classifier), tmp_path / "router", CATEGORY_NAMES, mapping=mapping)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tokens", [0, POSITIONS])
def test_lengths_that_the_model_does_not_take(classifier: Path, tmp_path: Path, tokens: int) -> None:
    with pytest.raises(RouterError, match=f"--max-tokens {tokens}.*1 to 46"):
        import_classifier(
            str(classifier), tmp_path / "router", CATEGORY_NAMES, mapping={"OTHER": "default"}, max_tokens=tokens
        )


@pytest.mark.full
def test_a_graph_that_deviates_is_refused(classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = Classifier.logits
    monkeypatch.setattr(Classifier, "logits", lambda self, ids: logits(self, ids) + torch.tensor([0.1, 0.0, 0.0]))
    with pytest.raises(RouterError, match=r"the exported graph deviates from the model by .* its architecture cannot"):
        import_classifier(str(classifier), tmp_path / "router", CATEGORY_NAMES, mapping={"OTHER": "default"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
def test_a_tokenizer_of_another_model(classifier: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(classifier, tmp_path / "model"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["zebra"] = 10_000
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(RouterError, match="10001"):
        import_classifier(str(folder), tmp_path / "router", CATEGORY_NAMES, mapping={"OTHER": "default"})


@pytest.mark.full
def test_only_a_router_is_replaced(
    classifier: Path, router: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "router.json").write_text("{}")
    (thesis / "thesis.tex").write_text("years of work")
    monkeypatch.setattr(importer, "_compare", lambda *_: None)
    for force in (False, True):
        with pytest.raises(OutputError, match="is no router; nothing but a router is ever replaced"):
            import_classifier(str(classifier), thesis, CATEGORY_NAMES, force=force)
    with pytest.raises(OutputError, match="--force"):
        import_classifier(str(classifier), router, CATEGORY_NAMES)
    with pytest.raises(OutputError, match="is not a folder"):
        import_classifier(str(classifier), thesis / "thesis.tex", CATEGORY_NAMES, force=True)
    with pytest.raises(OutputError, match="there is no folder"):
        import_classifier(str(classifier), tmp_path / "no" / "router", CATEGORY_NAMES)
    old = tmp_path / "old"
    old.mkdir()
    (old / "router.json").write_text("{}")
    (old / "router.bin").write_text("{}")
    import_classifier(str(classifier), old, CATEGORY_NAMES, mapping={"OTHER": "default"}, force=True)
    assert RouterSpec.read(old).kind == "classifier"
    assert not (old / "router.bin").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "thesis"]
    assert (thesis / "thesis.tex").read_text() == "years of work"
