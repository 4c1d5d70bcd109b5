"""A text classifier's graph computes what torch computes, at every length, and other models are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from clasp_trt.errors import CheckpointError
from clasp_trt.export.classifier import Classifier
from clasp_trt.runtime.routing.classifier import GRAPH
from tests.tools.routers.models import POSITIONS, save_classifier, save_language_model


@pytest.fixture(scope="module")
def opened(classifier: Path) -> Classifier:
    return Classifier.open(str(classifier))


@pytest.fixture
def copied(classifier: Path, tmp_path: Path) -> Path:
    """A checkpoint to damage."""
    return Path(shutil.copytree(classifier, tmp_path / "copied"))


def change(folder: Path, **changes: object) -> str:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return str(folder)


def test_what_it_is(opened: Classifier) -> None:
    assert opened.labels == ("counting", "text / symbol recognition", "OTHER")
    assert opened.max_tokens == POSITIONS - 2
    assert opened.checkpoint.name == "tiny-bert"
    assert not opened.module.training


def test_graph_and_torch_agree(opened: Classifier, router: Path) -> None:
    """The bound: eight times what float32 deviates from float64 in torch itself."""
    session = ort.InferenceSession(str(router / GRAPH), providers=["CPUExecutionProvider"])
    exact = Classifier.open(str(opened.checkpoint.root)).module.double()
    for tokens in (1, 2, 3, 17, opened.max_tokens):
        ids = torch.from_numpy(np.random.default_rng(tokens).integers(opened.vocabulary, size=(1, tokens)))
        theirs = opened.logits(ids).numpy()
        with torch.inference_mode():
            truth = exact(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.numpy()
        ours = session.run(None, {"input_ids": ids.numpy()})[0]
        assert ours.shape == (1, 3)
        assert np.abs(truth).max() > 1, "logits too small to tell anything"
        allowed = 8 * max(np.abs(theirs - truth).max(), np.finfo(np.float32).eps * np.abs(truth).max())
        assert np.abs(ours - truth).max() <= allowed


def test_ports(router: Path) -> None:
    session = ort.InferenceSession(str(router / GRAPH), providers=["CPUExecutionProvider"])
    assert [(port.name, port.type, port.shape) for port in session.get_inputs()] == [
        ("input_ids", "tensor(int64)", [1, "tokens"])
    ]
    assert [(port.name, port.type, port.shape) for port in session.get_outputs()] == [
        ("logits", "tensor(float)", [1, 3])
    ]


def test_models_that_are_no_classifiers(copied: Path, tmp_path: Path) -> None:
    model = save_language_model(tmp_path / "llama")
    with pytest.raises(CheckpointError, match=r"names LlamaForCausalLM, expected \.\.\.ForSequenceClassification"):
        Classifier.open(str(model))
    for kind in ("regression", "multi_label_classification"):
        with pytest.raises(CheckpointError, match=f"model for {kind}"):
            Classifier.open(change(copied, problem_type=kind))


def test_a_head_that_is_missing_is_not_made_up(copied: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"classifier\.weight"):
        Classifier.open(str(copied))


def test_no_fast_tokenizer(copied: Path) -> None:
    (copied / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        Classifier.open(str(copied))


def test_an_architecture_that_transformers_does_not_know(copied: Path) -> None:
    with pytest.raises(CheckpointError, match=r"as AutoModelForSequenceClassification"):
        Classifier.open(change(copied, model_type="bertie"))


def test_one_label_is_none(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "one", ["only"])
    with pytest.raises(CheckpointError, match="has 1 label"):
        Classifier.open(str(folder))
