"""``clasp-trt router``, and a taxonomy of one's own from the first prompt to the last answer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clasp_trt.bundle import Bundle
from tests.cli.conftest import Clasp, Refused
from tests.tools.routers.models import save_classifier, save_language_model

MAP = ("--map", "OTHER=default")
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_language_model(tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("how many dogs?\nwhat does it say?\nhello\n")
    return path


def test_alone_it_says_what_there_is(clasp: Clasp) -> None:
    done = clasp("router")
    assert (done.code, done.err) == (0, "")
    assert "\n  import  Make a router" in done.out
    assert clasp("router", "--help").out == done.out


@pytest.mark.full
def test_import(clasp: Clasp, classifier: Path, tmp_path: Path) -> None:
    done = clasp("router", "import", classifier, "-o", tmp_path / "router", *MAP)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"{tmp_path}/router: a classifier made from tiny-bert, 9 categories"
    assert lines[1].startswith("no label stands for object identification, attribute")
    assert lines[2].startswith(f"next: clasp-trt route --router {tmp_path}/router")
    told = json.loads(clasp("router", "import", classifier, "-o", tmp_path / "router", *MAP, "--force", "--json").out)
    assert told["kind"] == "classifier"
    assert told["labels"] == ["counting", "text / symbol recognition", "default"]
    assert len(told["unreached"]) == 6


def test_import_refused(refused: Refused, classifier: Path, router: Path, tmp_path: Path) -> None:
    out = tmp_path / "router"
    assert "the labels OTHER are no categories; say with --map" in refused("router", "import", classifier, "-o", out)
    assert "--map OTHER: expected LABEL=CATEGORY" in refused(
        "router", "import", classifier, "-o", out, "--map", "OTHER"
    )
    assert "once for each label" in refused("router", "import", classifier, "-o", out, *MAP, *MAP)
    assert "exists; replace it with --force" in refused("router", "import", classifier, "-o", router, *MAP)
    (empty := tmp_path / "empty").mkdir()
    assert "it has no config.json" in refused("router", "import", empty, "-o", out, *MAP)
    assert "no command 'imprt'; did you mean 'import'? see clasp-trt router" in refused("router", "imprt")
    assert list(tmp_path.iterdir()) == [empty]


def test_missing_extra_says_how_to_get_it(
    refused: Refused, classifier: Path, model: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "clasp_trt.export.classifier", None)
    monkeypatch.setitem(sys.modules, "clasp_trt.tools.routers.language_model", None)
    for line in (
        ("import", classifier, "-o", tmp_path / "router", *MAP),
        ("label", "--model", model, "--data", prompts, "-o", tmp_path / "labelled.jsonl"),
    ):
        assert refused("router", *line).endswith("pip install 'clasp-trt[export]'")
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.txt"]


def test_label(clasp: Clasp, model: Path, prompts: Path, tmp_path: Path) -> None:
    line = ("router", "label", "--model", model, "--data", prompts, "-o", tmp_path / "labelled.jsonl")
    done = clasp(*line)
    assert (done.code, done.err) == (0, "")  # no progress bar in a pipe, neither ours nor that of a library
    assert done.out.splitlines()[-1].startswith(f"3 prompts labelled in {tmp_path}/labelled.jsonl")
    first = (tmp_path / "labelled.jsonl").read_bytes()
    told = json.loads(clasp(*line, "--force", "--json").out)
    assert told["prompts"] == sum(told["categories"].values()) == 3
    assert (tmp_path / "labelled.jsonl").read_bytes() == first
    assert clasp("route", "--file", tmp_path / "labelled.jsonl").code == 0


@pytest.mark.full
def test_label_interrupted_goes_on(clasp: Clasp, model: Path, shell: dict[str, str], tmp_path: Path) -> None:
    data, output = tmp_path / "many.txt", tmp_path / "labelled.jsonl"
    data.write_text("".join(f"how many {at}?\n" for at in range(2000)))
    partial = output.with_name("labelled.jsonl.partial.jsonl")
    process = subprocess.Popen(
        [sys.executable, "-m", "clasp_trt", "router", "label", "--model", model, "--data", data, "-o", output],
        env=shell,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # our own shell may have ignored it
    )
    deadline = time.monotonic() + PATIENCE_S
    while not partial.is_file() or partial.read_bytes().count(b"\n") < 4:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE_S) == ("", "error: interrupted\n")
    assert process.returncode == 130
    assert not output.exists()
    assert 4 <= partial.read_bytes().count(b"\n") < 2000


@pytest.mark.full
def test_a_taxonomy_of_ones_own(
    clasp: Clasp,
    refused: Refused,
    checkpoint: Path,
    bundle: Path,
    model: Path,
    prompts: Path,
    photo: Path,
    tmp_path: Path,
) -> None:
    """docs/router.md, step by step: policy, labels, router, bundle, answer."""
    policy, definitions, router, out = (
        tmp_path / name for name in ("policy.json", "definitions.jsonl", "router", "bundle")
    )
    document = json.loads((bundle / "policy.json").read_text())
    layers = len(document["layers"])
    document["categories"] = [
        {"name": name, "scores": [0.0] * (layers - 1) + [1.0], "ratio": 0.5} for name in ("dents", "labels", "default")
    ]
    document["provenance"] = {"kind": "user"}
    policy.write_text(json.dumps(document))
    definitions.write_text('{"category": "dents", "definition": "Is it bent, scratched or broken?"}\n')
    labelled = tmp_path / "labelled.jsonl"
    line = ("router", "label", "--model", model, "--data", prompts, "-o", labelled)
    assert clasp(*line, "--policy", policy, "--definitions", definitions).code == 0
    assert {json.loads(row)["category"] for row in labelled.read_text().splitlines()} <= {"dents", "labels", "default"}
    save_classifier(tmp_path / "model", ["labels", "dents"], seed=1)
    done = clasp("router", "import", tmp_path / "model", "-o", router, "--policy", policy)
    assert done.code == 0
    assert "no label stands for" not in done.out
    assert " of 3 right: " in clasp("route", "--router", router, "--file", labelled).out
    told = json.loads(clasp("route", "--router", router, "--prompt", "what does it say?", "--json").out)
    assert told["name"] in ("dents", "labels")
    line = ("build", checkpoint, "-o", out, "--budget", "8", "--policy", policy)
    assert "is not a router for this policy: it has no 'object" in refused(
        "build", checkpoint, "-o", out, "--budget", "8", "--router", router
    )
    assert not out.exists()
    assert "\nrouter     classifier, 0." in clasp(*line, "--router", router).out
    assert Bundle.open(out, verify=True).manifest.files.keys() >= {"router.json", "router.onnx"}
    answered = clasp("run", out, "--image", photo, "--prompt", "what does it say?", "--max-new-tokens", "1")
    assert answered.err.startswith(f"[{told['name']}] 16 visual tokens")
    inspected = json.loads(clasp("inspect", out, "--json").out)
    assert inspected["router"]["kind"] == "classifier"
    assert inspected["policy"]["unreached"] == []
    assert "it has no 'dents'" in refused(
        "run", bundle, "--policy", policy, "--router", router_of_nine(tmp_path), "--prompt", "x"
    )


def router_of_nine(folder: Path) -> Path:
    """What says that it is for the paper's categories; nothing else of it is read."""
    from clasp_trt.policy import CATEGORY_NAMES

    (folder / "nine").mkdir()
    spec = {"schema": 1, "kind": "classifier", "categories": list(CATEGORY_NAMES)}
    (folder / "nine" / "router.json").write_text(json.dumps(spec))
    return folder / "nine"


def test_run_and_show_with_a_router(clasp: Clasp, bundle: Path, router: Path, photo: Path, tmp_path: Path) -> None:
    expected = json.loads(clasp("route", "--router", router, "--prompt", "red cat", "--json").out)["name"]
    line = ("--image", photo, "--prompt", "red cat", "--router", router)
    assert clasp("run", bundle, *line, "--max-new-tokens", "1").err.startswith(f"[{expected}]")
    assert clasp("show", bundle, *line, "-o", tmp_path / "kept.png").out.startswith(f"[{expected}]")
    assert not clasp("run", bundle, *line[:4], "--max-new-tokens", "1").err.startswith(f"[{expected}]")


@pytest.mark.full
def test_a_portable_bundle_takes_a_router_when_it_is_completed(
    clasp: Clasp, refused: Refused, portable: Path, router: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert clasp("router", "import", save_other(tmp_path), "-o", other).code == 0
    (other / "router.notes").write_text("more than the next one has")
    for folder, names in ((router, {"router.json", "router.onnx", "router.tokenizer.json"}), (other, None)):
        out = tmp_path / f"with-{folder.name}"
        assert clasp("build", portable, "-o", out, "--router", folder).code == 0
        found = {name for name in Bundle.open(out, verify=True).manifest.files if name.startswith("router.")}
        assert found == (names or {*{"router.json", "router.onnx", "router.tokenizer.json"}, "router.notes"})
        assert json.loads((out / "router.json").read_text()) == json.loads((folder / "router.json").read_text())
    (empty := tmp_path / "empty").mkdir()
    assert "cannot be read" in refused("build", portable, "-o", tmp_path / "no", "--router", empty)
    assert "fixes pruning" in refused("build", portable, "-o", tmp_path / "no", "--router", router, "--budget", "4")
    assert not (tmp_path / "no").exists()


def save_other(folder: Path) -> Path:
    return save_classifier(folder / "model", ["counting", "default"], seed=2)
