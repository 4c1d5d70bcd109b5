"""The table of families: ``python -m benchmarks.families``.

For each family it runs the tests that compare a bundle of random weights with transformers, counts them by what they
compare, and says which fail; the exit code is then 1. A column without tests of its own is "-", one whose tests were
not found is told too. Visual tokens are those of a published config, and so is the share of the time to first token
that selection takes, by the estimate of ``plan``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click

from benchmarks.qwen import CONFIGS
from clasp_trt import targets
from clasp_trt.chain import names
from clasp_trt.export.family import describe
from clasp_trt.options import DEFAULT_VISUAL_TOKENS, Options
from clasp_trt.tools import plan as planning
from tests.export.models.published import IDEFICS3, INTERNVL, LLAVA_NEXT_VIDEO, ONEVISION, VIDEO_LLAVA

ROOT = Path(__file__).parents[1]
TARGET = "orin-agx-64"
PROCESSORS, PARITY = "tests/runtime/media/processors/", "tests/parity/"
COLUMNS = (
    "pixels", "ids", "positions", "features", "answers", "kept", "clips", "every graph", "opset 20", "engines built",
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """``config`` is a published one, ``tests`` are by column: a file and an expression that matches the names of its
    tests."""

    decoders: str
    config: Mapping[str, Any]
    tests: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Outcome:
    """How many tests of a column ran, and how many of them failed."""

    tests: int
    failed: int

    def __str__(self) -> str:
        if not self.tests:
            return "no test"
        return f"{self.failed} of {self.tests} FAIL" if self.failed else str(self.tests)


def _llava_like(parity: str, pixels: str, verified: tuple[str, str], engines: str) -> dict[str, tuple[str, str]]:
    return {
        "pixels": (f"{PROCESSORS}{pixels}", "equals_transformers|test_pixels"),
        "ids": verified,
        "answers": (parity, "unpruned_is|are_the_stock_models"),
        "kept": (parity, "test_kept_tokens"),
        "every graph": verified,
        "opset 20": (parity, "older_jetpack"),
        "engines built": ("tests/engines/tensorrt/test_rtx.py", engines),
    }


def _tiled(kind: str, *, pixels: str) -> dict[str, tuple[str, str]]:
    module = "internvl" if kind == "internvl" else "idefics3"
    tests = _llava_like(
        f"{PARITY}test_tiles.py", "test_split.py",
        (f"tests/export/models/test_{module}.py", rf"is_verified.*tiny-{kind}"), rf"merged_patches.*tiny-{kind}",
    )  # fmt: skip
    of_kind = {
        column: (file, rf"(?:{expression}).*\[tiny-{kind}")
        for column, (file, expression) in tests.items()
        if file.startswith(PARITY)
    }
    takes = kind != "idefics3"
    return {
        **tests,
        **of_kind,
        **({"clips": (f"{PARITY}test_tile_clips.py", rf"\[tiny-{kind}")} if takes else {}),
        "pixels": (f"{PROCESSORS}test_split.py", pixels),
        "ids": (f"{PARITY}test_tiles.py", rf"becomes_what_the_processor_makes.*\[tiny-{kind}"),
        "features": (f"{PARITY}test_tiles.py", rf"trained_layer_alone.*\[tiny-{kind}"),
    }


def _filmed(preset: str) -> dict[str, tuple[str, str]]:
    parity, own = f"{PARITY}test_film.py", rf"\[{preset}\b"
    verified = ("tests/export/models/test_films.py", rf"is_verified.*\b{preset}\b")
    return {
        "pixels": (parity, f"what_the_library_makes.*{own}"),
        "ids": verified,
        "features": (parity, f"trained_layer_alone.*{own}"),
        "answers": (parity, f"unpruned_is.*{own}"),
        "kept": (parity, f"kept_tokens.*{own}"),
        "clips": (parity, own),
        "every graph": verified,
        "opset 20": (parity, f"older_jetpack.*{own}"),
        "engines built": ("tests/engines/tensorrt/test_rtx.py", f"graphs_of_clips.*{own}"),
    }


def _qwen(kind: str) -> dict[str, tuple[str, str]]:
    parity, own = f"{PARITY}test_qwen.py", rf"{re.escape(kind)}(?![.\d])"
    return {
        "pixels": (f"{PROCESSORS}test_grid.py", "test_pixels"),
        "ids": ("tests/export/models/test_qwen.py", rf"is_verified.*{own}"),
        "positions": ("tests/runtime/text/test_positions.py", "library|transformers|stock"),
        "features": (parity, rf"trained_layer_alone.*{own}"),
        "answers": (parity, rf"(?:unpruned_is|are_the_stock).*{own}"),
        "kept": (parity, rf"kept_tokens.*{own}"),
        "clips": (f"{PARITY}test_qwen_clips.py", own),
        "every graph": ("tests/export/models/test_qwen.py", rf"is_verified.*{own}"),
        "opset 20": (parity, rf"older_jetpack.*{own}"),
        "engines built": ("tests/engines/tensorrt/test_rtx.py", rf"of_any_shape.*{own}"),
    }


def _gemma(kind: str) -> dict[str, tuple[str, str]]:
    parity, engines = f"{PARITY}test_gemma.py", "tiny-gemma3" if kind == "gemma3" else "tiny-paligemma"
    return {
        "pixels": (f"{PROCESSORS}test_square.py", "siglip"),
        "ids": (parity, rf"unpruned_is.*\b{kind}"),
        "features": (parity, rf"trained_layer_alone.*\[{kind}"),
        "answers": (parity, rf"unpruned_is.*\b{kind}"),
        "kept": (parity, rf"kept_tokens.*\b{kind}"),
        "every graph": (parity, rf"is_verified.*\b{kind}"),
        "opset 20": (parity, rf"older_jetpack.*\b{kind}"),
        "engines built": ("tests/engines/tensorrt/test_rtx.py", rf"told_what_they_see.*{engines}"),
    }


def read_outcomes(reports: Sequence[Path], tests: Mapping[str, tuple[str, str]]) -> dict[str, Outcome]:
    """By column, of JUnit reports of pytest's."""
    cases = [case for report in reports for case in _cases(report)]
    found = {}
    for column, (file, expression) in tests.items():
        own = [failed for where, name, failed in cases if where == file and re.search(expression, name)]
        found[column] = Outcome(len(own), sum(own))
    return found


def _cases(report: Path) -> Iterator[tuple[str, str, bool]]:
    """File and name of each test that ran, and whether it failed."""
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if "skipped" not in kinds:
            file = case.get("classname", "").replace(".", "/") + ".py"
            yield file, case.get("name", ""), bool(kinds & {"failure", "error"})


def run_tests(files: Sequence[str], report: Path) -> None:
    """Runs the tests in ``files`` that need no GPU, all of them, into a JUnit ``report``."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "(full or not full) and not gpu and not slow"]
    command += [f"--junitxml={report}", "-n", "auto", "--dist", "loadfile", *files]
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=sys.stderr)
    if done.returncode not in (0, 1):
        raise click.ClickException(f"pytest ended with {done.returncode}; its lines are above")


def share_of_selection(family: Family, name: str) -> float:
    """Of the time to first token, as ``plan`` estimates it for the published config on a Jetson AGX Orin in fp16: the
    similarities and the selections at the default budget, a third of the most visual tokens."""
    model = describe(dict(family.config), "config.json", name).capped(DEFAULT_VISUAL_TOKENS)
    options = Options()
    tokens = max(model.tokens)
    request = planning.Request(
        model=model,
        target=targets.get(TARGET),
        schedule=options.pruning.schedule(tokens, model.decoder.layers),
        precision="fp16",
        context=options.context(model.decoder.max_positions, tokens),
        text_tokens=planning.TEXT_TOKENS,
        machine=None,
        build_memory=None,
    )
    timing = planning.make(request).pruned.timing
    assert timing is not None, f"{TARGET} has known speeds"
    chosen = (names.GRAM, names.prune(0)[:-1])
    return sum(stage.seconds for stage in timing.stages if stage.name.startswith(chosen)) / timing.ttft


def table(families: Mapping[str, Family], reports: Sequence[Path]) -> str:
    """In Markdown."""
    lines = [f"| family | decoders | {' | '.join(COLUMNS)} | tokens: least, usual, most | selection in first token |"]
    lines.append("|" + "---|" * (len(COLUMNS) + 4))
    for name, family in families.items():
        outcomes = read_outcomes(reports, family.tests)
        model = describe(dict(family.config), "config.json", name).capped(DEFAULT_VISUAL_TOKENS)
        tokens = ", ".join(map(str, model.picture_tokens))
        columns = " | ".join(str(outcomes.get(column, "-")) for column in COLUMNS)
        lines.append(
            f"| `{name}` | {family.decoders} | {columns} | {tokens} | {share_of_selection(family, name):.1%} |"
        )
    return "\n".join(lines)


_SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
    "num_attention_heads": 16, "patch_size": 14,
}  # fmt: skip
GEMMA3_4B = {
    "model_type": "gemma3",
    "vision_config": {**_SIGLIP, "image_size": 896},
    "text_config": {
        "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 1024,
        "vocab_size": 262208,
        "query_pre_attn_scalar": 256, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    "mm_tokens_per_image": 256,
}  # fmt: skip
PALIGEMMA_3B = {
    "model_type": "paligemma",
    "vision_config": {**_SIGLIP, "image_size": 224},
    "text_config": {
        "model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 18,
        "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 257216,
    },
    "projection_dim": 2048,
}  # fmt: skip


def _long(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A config of sizes alone, with the positions that the published decoders have."""
    return {**config, "model_type": kind, "text_config": {**config["text_config"], "max_position_embeddings": 8192}}


_RTX = "tests/engines/tensorrt/test_rtx.py"
_LIKE_LLAMA = "Llama, Mistral, Qwen2, Qwen3"
FAMILIES: Mapping[str, Family] = {
    "llava": Family(
        _LIKE_LLAMA, {"model_type": "llava"},
        {
            **_llava_like(f"{PARITY}test_parity.py", "test_square.py", ("tests/tools/verify/test_parity.py", ""), ""),
            "answers": (f"{PARITY}test_parity.py", "stock_model"),
            "opset 20": ("tests/engines/lowering/test_lower_file.py", ""),
            "engines built": (_RTX, "checkpoint_becomes|engines_without_a_gpu|every_precision"),
        },
    ),
    "llava_next": Family(
        _LIKE_LLAMA, {"model_type": "llava_next", "text_config": {"max_position_embeddings": 4096}},
        {
            **_llava_like(
                f"{PARITY}test_llava_next.py", "test_anyres.py",
                ("tests/export/models/test_llava_next.py", "is_verified"), "any_number_of_tokens",
            ),
            "features": (f"{PROCESSORS}test_anyres.py", "row_that_the_library_packs"),
        },
    ),
    "llava_onevision": Family(
        "Qwen2, Llama, Mistral, Qwen3", ONEVISION["llava-onevision-qwen2-7b-ov"],
        {
            **_llava_like(
                f"{PARITY}test_llava_onevision.py", "test_anyres_limit.py",
                ("tests/export/models/test_llava_onevision.py", "is_verified"), "shrunk_to_a_limit",
            ),
            "features": (f"{PARITY}test_llava_onevision.py", "trained_layer_alone"),
            "clips": (f"{PARITY}test_llava_onevision.py", "clip"),
        },
    ),
    "llava_next_video": Family(
        _LIKE_LLAMA, LLAVA_NEXT_VIDEO["LLaVA-NeXT-Video-7B-hf"], _filmed("tiny-next-video")
    ),
    "video_llava": Family(_LIKE_LLAMA, VIDEO_LLAVA["Video-LLaVA-7B-hf"], _filmed("tiny-video")),
    "qwen2_vl": Family("Qwen2, three axes", CONFIGS["Qwen2-VL-7B"], _qwen("tiny-qwen2")),
    "qwen2_5_vl": Family(
        "Qwen2, three axes", CONFIGS["Qwen2.5-VL-7B"], _qwen("tiny-qwen2.5")
    ),
    "qwen3_vl": Family("Qwen3, three axes", CONFIGS["Qwen3-VL-8B"], _qwen("tiny-qwen3")),
    "internvl": Family(
        "Qwen2, Llama, Qwen3, Mistral", INTERNVL["InternVL3-8B-hf"],
        _tiled("internvl", pixels="by_ratio"),
    ),
    "idefics3": Family(
        _LIKE_LLAMA, _long(IDEFICS3["Idefics3-8B"], "idefics3"), _tiled("idefics3", pixels="by_edge")
    ),
    "smolvlm": Family(
        _LIKE_LLAMA, _long(IDEFICS3["SmolVLM-2.2B"], "smolvlm"),
        _tiled("smolvlm", pixels="by_edge"),
    ),
    "gemma3": Family("Gemma 3", GEMMA3_4B, _gemma("gemma3")),
    "paligemma": Family("Gemma, Gemma 2", PALIGEMMA_3B, _gemma("paligemma")),
}  # fmt: skip


@click.command()
@click.option("--only", type=click.Choice(sorted(FAMILIES)), multiple=True, help="These families alone.")
@click.option(
    "--report",
    "reports",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="What pytest's --junitxml wrote of runs of today, in place of running the tests.",
)
def main(only: tuple[str, ...], reports: tuple[Path, ...]) -> None:
    chosen = {name: family for name, family in FAMILIES.items() if not only or name in only}
    with tempfile.TemporaryDirectory() as root:
        if not reports:
            reports = (Path(root, "report.xml"),)
            run_tests(sorted({file for family in chosen.values() for file, _ in family.tests.values()}), reports[0])
        print(table(chosen, reports))
        outcomes = [each for family in chosen.values() for each in read_outcomes(reports, family.tests).values()]
    sys.exit(1 if any(each.failed for each in outcomes) else 0)


if __name__ == "__main__":
    main()
