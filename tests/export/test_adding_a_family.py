"""A family is one file: with that alone a checkpoint of its kind is planned, built, run and verified."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from clasp_trt.bundle import Bundle
from clasp_trt.export import models
from clasp_trt.export.family import supported
from clasp_trt.runtime.pipeline import load
from clasp_trt.tools.build.compiler import build
from clasp_trt.tools.verify import compare
from tests.house import ROOT

TOY = Path(__file__).parent / "toy"
QUESTION = "What is in the picture?"
ASSETS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "chat_template.jinja",
    "generation_config.json",
)
EYE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 56, "patch_size": 14}
BRAIN = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2}
BRAIN |= {"intermediate_size": 96, "vocab_size": 512, "max_position_embeddings": 512}


pytestmark = pytest.mark.usefixtures("tracer")


@pytest.fixture(scope="module", autouse=True)
def one_file() -> Iterator[None]:
    """The toy family's file beside those of the package, and nothing else."""
    name = f"{models.__name__}.toyvlm"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "__path__", [*models.__path__, str(TOY)])
        patch.delitem(sys.modules, name, raising=False)
        yield
        sys.modules.pop(name, None)


def _modules() -> dict[str, Any]:
    """transformers' own, by the names of the parts on disk."""
    from transformers import Dinov2Config, Dinov2Model, Qwen2Config, Qwen2ForCausalLM

    eye, brain = Dinov2Config(**EYE), Qwen2Config(**BRAIN)  # type: ignore[arg-type]
    return {"eye": Dinov2Model(eye), "bridge": torch.nn.Linear(32, 48), "brain": Qwen2ForCausalLM(brain)}


@pytest.fixture(scope="module")
def toy(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the toy family with random weights, and the tokenizer of the tiny one."""
    folder = tmp_path_factory.mktemp("toy") / "toy-1"
    folder.mkdir()
    for name in ASSETS:
        shutil.copyfile(checkpoint / name, folder / name)
    picture = json.loads((checkpoint / "config.json").read_text())["image_token_index"]
    config = {"model_type": "toyvlm", "eye": EYE, "brain": BRAIN, "picture": picture}
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for part, module in _modules().items():
        for key, value in module.state_dict().items():
            drawn = torch.randn(value.shape, generator=generator) * 0.2
            tensors[f"{part}.{key}"] = drawn + 1 if "norm" in key else drawn
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.effect_noise((80, 60), 90).convert("RGB")


def test_it_is_found() -> None:
    assert "toyvlm" in supported()


def test_it_is_planned(toy: Path) -> None:
    from tests.commands import GROUP

    line = ["plan", str(toy), "--target", "orin-agx-64", "--schedule", "7,4", "--prune-layers", "0,1", "--json"]
    done = CliRunner().invoke(GROUP, [*line, "--max-context", "96"])
    assert done.exit_code == 0, done.output
    plan = json.loads(done.output)
    assert plan["model"] == {"name": "toy-1", "model_type": "toyvlm"}
    assert plan["parameters"]["total"] == sum(
        tensor.numel() for tensor in load_file(toy / "model.safetensors").values()
    )


@pytest.mark.full
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_is_built_and_verified(toy: Path, picture: Image.Image, tmp_path: Path, precision: str) -> None:
    options: dict[str, Any] = {"schedule": (7, 4), "prune_layers": (0, 1), "precision": precision}
    bundle = build(toy, tmp_path / "bundle", max_context=96, **options)
    report = compare(bundle, str(toy), [picture], QUESTION)
    report.require()
    assert {check.stage for check in report.checks} == {graph.name for graph in bundle.manifest.graphs}
    assert "processor" in report.skipped[0], "transformers has none for it"


@pytest.mark.full
def test_it_answers_as_its_modules_do(toy: Path, picture: Image.Image, tmp_path: Path) -> None:
    """Unpruned and greedy: tower, bridge and decoder in torch, put together by hand."""
    bundle = build(toy, tmp_path / "bundle", prune_at="none", max_context=96)
    with load(tmp_path / "bundle", threads=1) as pipeline:
        result = pipeline.generate(picture, QUESTION, max_new_tokens=8)
    assert list(result.token_ids) == _by_hand(toy, bundle, picture)
    assert len(set(result.token_ids)) > 2, "a model that repeats itself proves little"


@torch.inference_mode()
def _by_hand(toy: Path, bundle: Bundle, picture: Image.Image) -> list[int]:
    from clasp_trt.tools.request import Request

    tensors, modules = load_file(toy / "model.safetensors"), _modules()
    request = Request.of(bundle, [picture], QUESTION)
    (sees,) = request.seen
    for part, module in modules.items():
        own = {key.removeprefix(f"{part}."): value for key, value in tensors.items() if key.startswith(f"{part}.")}
        module.eval().load_state_dict(own)
    eye, bridge, brain = modules.values()
    seen = bridge(
        eye(torch.from_numpy(sees.vision["pixel_values"]), output_hidden_states=True).hidden_states[-1][:, 1:]
    )
    ids = request.prompt.input_ids.tolist()
    hidden = brain.model.embed_tokens(torch.tensor([ids]))
    hidden[:, torch.from_numpy(request.prompt.visual_index)] = seen
    answer = []
    for _ in range(8):
        answer.append(int(brain(inputs_embeds=hidden).logits[0, -1].argmax()))
        if answer[-1] in bundle.manifest.model.stop_token_ids:
            return answer[:-1]
        hidden = torch.cat([hidden, brain.model.embed_tokens(torch.tensor([answer[-1:]]))], dim=1)
    return answer


FAMILIES = (
    *supported(),
    *("gemma3", "idefics3", "internvl", "llava_next", "llava_next_video", "llava_onevision", "paligemma"),
    *("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "smolvlm", "video_llava"),
)


@pytest.mark.parametrize("folder", ["runtime", "clasp_trt/bundle", "engines"])
def test_no_family_is_named_outside_of_it(folder: str) -> None:
    """A runtime knows kinds of processors, layouts and positions: no name and no string says which family it is."""
    word = re.compile(rf"\b(?:{'|'.join(FAMILIES)})\b", re.IGNORECASE)
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        tokens = list(tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline))
        found += [
            f"{path}:{token.start[0]}: {token.string}"
            for token in tokens
            if token.type in (tokenize.NAME, tokenize.STRING) and not token.string.startswith('"""')
            if word.search(token.string)
        ]
    assert found == []
