"""``clasp-trt plan``: from a config alone, in words and in JSON; what it cannot plan is one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from clasp_trt.export.family import supported
from clasp_trt.tools.plan import Machine
from examples.random_qwen import PRESETS, make
from tests.cli.conftest import Clasp, Refused
from tests.house import ROOT
from tests.mistakes import says
from tests.tools.plan.conftest import LLAVA_7B, MACHINE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint's folder that has nothing but its config."""
    folder = tmp_path / "llava-1.5-7b-hf"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAVA_7B))
    return folder


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine that target ``cpu`` is planned for."""
    monkeypatch.setattr("clasp_trt.tools.plan.measure", lambda: MACHINE)
    return MACHINE


def test_it_fits(clasp: Clasp, folder: Path) -> None:
    done = clasp("plan", folder, "--target", "orin-agx-64", "--precision", "fp16", "--budget", "192")
    assert (done.code, done.err) == (0, "")
    first = done.out.splitlines()[0]
    assert first == ("llava-1.5-7b-hf (llava) on orin-agx-64 (Jetson AGX Orin 64GB), fp16, tensorrt, context 2048")
    assert "7063.4 M: vision tower 303.5 M, projector 21.0 M, embedding 131.3 M, decoder layers 6476.3 M" in done.out
    assert "576 -> 300 after layer 2 -> 200 after layer 6 -> 110 after layer 15" in done.out
    assert "\nfits: " in done.out
    assert "what would fit" not in done.out
    assert "pruning buys: time to first token x 0." in done.out
    assert "- 42% of 42.5 TFLOP/s fp16" in done.out


def test_it_does_not_fit(clasp: Clasp, folder: Path) -> None:
    done = clasp("plan", folder, "--target", "orin-nano-8", "--precision", "fp16", "--budget", "192")
    assert done.code == 0  # that it does not fit is an answer, not a mistake
    assert "\ndoes not fit: 16.04 GB needed, 6.59 GB available on orin-nano-8\n" in done.out
    assert "\nwhat would fit: --quantize int4; --target orin-agx-32\n" in done.out


@pytest.mark.parametrize("target", ["orin-agx-64", "orin-nano-8"])
def test_the_documented_table_is_what_is_printed(
    clasp: Clasp, folder: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    words = ("plan", "llava-hf/llava-1.5-7b-hf", "--target", target, "--precision", "fp16", "--budget", "192")
    page = (ROOT / "docs" / "planning.md").read_text(encoding="utf-8")
    assert f"```bash\nclasp-trt {' '.join(words)}\n```\n\n```text\n{clasp(*words).out}```\n" in page


def test_slots(clasp: Clasp, folder: Path, refused: Refused) -> None:
    words = ("plan", folder, "--target", "orin-agx-64", "--precision", "fp16", "--budget", "192", "--slots")
    assert "\nslots: 8 planned, 0.88 GB of KV cache each; memory is there for 58, 10 of them" in clasp(*words, "8").out
    found = json.loads(clasp(*words, "8", "--json").out)
    assert (found["slots"], found["pruned"]["slots_that_fit"], found["slots_bought"]) == (8, 58, 10)
    says(refused(*words, "0"), "--slots", 0)


def test_one_column_without_pruning(clasp: Clasp, folder: Path) -> None:
    done = clasp("plan", folder, "--target", "l4", "--precision", "fp16", "--prune-at", "none")
    assert "UNPRUNED" not in done.out
    assert "pruning buys" not in done.out
    assert "on the building host" in done.out


def test_json(clasp: Clasp, folder: Path) -> None:
    done = clasp(
        "plan", folder, "--target", "orin-nano-8", "--precision", "fp16", "--schedule", "300,200,110", "--json"
    )
    plan = json.loads(done.out)
    assert plan["parameters"]["total"] == 7_063_427_072
    assert plan["fits"] is False
    assert plan["advice"] == ["--quantize int4", "--target orin-agx-32"]
    memory = plan["pruned"]["memory_bytes"]
    parts = sum(memory["weights"].values()) + sum(memory["kv_cache"].values())
    assert memory["needed"] == parts + memory["activations"] + memory["runtime"]
    assert [stage["name"] for stage in plan["pruned"]["times"]["stages"]][-1] == "decode"
    assert plan["ttft_ratio"] == pytest.approx(
        plan["pruned"]["times"]["ttft_ms"] / plan["unpruned"]["times"]["ttft_ms"]
    )
    assert plan["schedule"]["source"] == "given"


def test_rounded_weights(clasp: Clasp, folder: Path, refused: Refused) -> None:
    words = ("plan", folder, "--target", "orin-nano-8", "--precision", "fp16", "--budget", "192")
    done = clasp(*words, "--quantize", "int4")
    assert (
        "\nweights     vision int8, projector int8, decoder int4 in blocks of 128, embedding int8, head int8\n"
        in done.out
    )
    assert "\nfits: " in done.out
    says(refused(*words, "--quantize", "int3"), "--quantize", "int3")


@pytest.mark.parametrize(
    ("target", "asked", "told"),
    [
        ("orin-nano-8", "2:4", "SPARSE_WEIGHTS"),
        ("orin-nano-8", "0.5", "buy nothing here: TensorRT skips zeros of the pattern 2:4 alone, not 0.5"),
        ("cpu", "2:4", "buy nothing here: ONNX Runtime"),
    ],
)
def test_zeros(clasp: Clasp, folder: Path, target: str, asked: str, told: str) -> None:
    words = ("plan", folder, "--target", target, "--budget", "192", "--precision", "fp16")
    done, dense = clasp(*words, "--sparsity", asked), clasp(*words)
    (line,) = [line for line in done.out.splitlines() if line not in dense.out.splitlines()]
    assert line.startswith(f"zeros       {asked} by tamp: ")
    assert told in line
    found = json.loads(clasp(*words, "--sparsity", asked, "--json").out)
    assert found["sparsity"] == {"asked": asked, "scores": "tamp", "buys": line.partition("tamp: ")[2]}


@pytest.mark.parametrize("asked", ["0", "1", "3:2", "nan", "0.5,best"])
def test_zeros_that_cannot_be(folder: Path, refused: Refused, asked: str) -> None:
    says(refused("plan", folder, "--sparsity", asked), "--sparsity", asked, "0.05 to 0.95")


def test_zeros_of_integers_of_4_bits(clasp: Clasp, folder: Path) -> None:
    words = ("plan", folder, "--target", "orin-nano-8", "--precision", "fp16", "--sparsity", "2:4", "--quantize")
    assert "buy nothing here: weights of 4 bits" in clasp(*words, "int4").out
    assert "SPARSE_WEIGHTS" in clasp(*words, "int8").out


def test_this_machine_is_the_default(clasp: Clasp, checkpoint: Path) -> None:
    done = clasp("plan", checkpoint, "--budget", "8", "--max-context", "96", "--prompt-tokens", "20")
    assert "on cpu (any CPU that ONNX Runtime runs on), fp32, onnxruntime, context 96" in done.out
    assert "85% of 300 GFLOP/s and 85% of 30.0 GB/s, both measured on this machine" in done.out
    assert "build peak" not in done.out


def test_of_a_hub_id_nothing_but_configs_is_fetched(
    clasp: Clasp, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(model: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((model, revision, allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    done = clasp("plan", "llava-hf/llava-1.5-7b-hf", "--target", "a100", "--precision", "fp16")
    assert done.out.startswith("llava-1.5-7b-hf (llava) on a100")
    clasp("plan", "llava-hf/llava-1.5-7b-hf", "--revision", "v1", "--target", "a100", "--precision", "fp16")
    files = ["config.json", "adapter_config.json", "preprocessor_config.json", "processor_config.json"]
    assert asked == [("llava-hf/llava-1.5-7b-hf", None, files), ("llava-hf/llava-1.5-7b-hf", "v1", files)]


def test_pictures_are_as_large_as_the_folder_says(clasp: Clasp, tmp_path: Path) -> None:
    model = make(tmp_path / "model", PRESETS["tiny-qwen2.5"])
    told = json.loads(clasp("plan", model, "--target", "l4", "--json").out)
    assert told["schedule"]["tokens"] == 138  # and not the 4096 of what a published one may have


def test_torch_is_not_needed(clasp: Clasp, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "transformers", "onnx", "onnx_ir", "onnxruntime", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it now fails
    assert clasp("plan", folder, "--target", "l4", "--precision", "fp16").code == 0


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--target", "orin-agx64"], "unknown target 'orin-agx64': did you mean 'orin-agx-64'?"),
        (["--budget", "577"], "budget: 577 is more than the 576 visual tokens; ask for at most 575"),
        (["--budget", "20"], "budget: 20 is out of reach while layers 0-2 run all 576 visual tokens"),
        (["--schedule", "5,4"], "the schedule names 2 token counts for 3 prune layers"),
        (["--budget", "192", "--schedule", "3,2,1"], "--budget and --schedule exclude each other"),
        (["--precision", "bf16"], "precision bf16 does not run on backend onnxruntime"),
        (["--max-context", "9999"], "--max-context 9999 exceeds the checkpoint's 4096 positions"),
        (["--prompt-tokens", "2000"], "--prompt-tokens 2000 does not fit; expected 1 to 1471"),
    ],
)
def test_refused_options(refused: Refused, folder: Path, options: list[str], line: str) -> None:
    assert line in refused("plan", folder, *options)


def test_refused_models(
    refused: Refused, folder: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "is a bundle, made already; give its checkpoint" in refused("plan", bundle)
    (tmp_path / "empty").mkdir()
    assert "it has no config.json; give a Hugging Face model folder or hub id" in refused("plan", tmp_path / "empty")
    assert "is not a folder; give a Hugging Face model folder or a hub id" in refused("plan", tmp_path / "missing")
    (folder / "config.json").write_text(json.dumps({**LLAVA_7B, "model_type": "blip"}))
    line = refused("plan", folder)
    says(line, "'blip'", folder / "config.json", *supported())
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install huggingface_hub" in refused("plan", "someone/something")


def test_a_hub_that_cannot_be_reached(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object, **__: object) -> str:
        raise OSError("no route\nto the hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert refused("plan", "someone/something").endswith("could not be fetched from the hub: no route")
