"""The Hugging Face side of the benchmark, on a tiny checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.hf_llava import HfLlava
from benchmarks.worker import Worker, peak_rss_mb
from examples.random_llava import PRESETS, make
from tests.started import own_environment

ROOT = Path(__file__).parents[2]
PROMPT = "What is in the picture?"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("checkpoint") / "tiny", PRESETS["tiny"])


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "gradient.png"
    Image.linear_gradient("L").save(path)  # one channel: the reader must convert it
    return path


@pytest.mark.full
def test_worker_answers_as_the_library_does_and_survives_a_bad_request(checkpoint: Path, picture: Path) -> None:
    here = HfLlava(checkpoint, "eager", threads=1).run(picture, PROMPT, 5)
    assert len(here.tokens) == 5
    assert len(here.tpot_ms) == 4
    assert here.prompt_tokens > PRESETS["tiny"].tokens
    with Worker("hf_llava", str(checkpoint), "--attention", "eager", threads=1) as worker:
        assert worker.load_s > 0
        there = worker.run(picture, PROMPT, 5)
        assert there.tokens == here.tokens
        assert there.prompt_tokens == here.prompt_tokens
        assert there.ttft_ms > 0
        assert min(there.tpot_ms) > 0
        with pytest.raises(RuntimeError, match="FileNotFoundError"):
            worker.run(picture.with_name("missing.png"), PROMPT, 5)
        with pytest.raises(RuntimeError, match="can't generate 0 tokens"):
            worker.run(picture, PROMPT, 0)
        assert worker.run(picture, PROMPT, 1).tokens == here.tokens[:1]


@pytest.mark.full
def test_peak_memory_is_the_workers_own(checkpoint: Path, picture: Path) -> None:
    ballast = bytearray(b"x") * 1_000_000_000
    assert peak_rss_mb() > 1000
    with Worker("hf_llava", str(checkpoint), "--attention", "sdpa", threads=1) as worker:
        sample = worker.run(picture, PROMPT, 2)
    assert 50 < sample.peak_rss_mb < 1000, f"{len(ballast)} bytes of the parent must not be counted"


@pytest.mark.full
def test_standard_output_is_json_lines_alone(checkpoint: Path, picture: Path) -> None:
    requests = [
        {"command": "run", "image": str(picture), "prompt": PROMPT, "new_tokens": 2},
        {"command": "dance"},
        {"command": "quit"},
    ]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.hf_llava", str(checkpoint), "--threads", "1"],
        input="\n".join(map(json.dumps, requests)),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=own_environment(),
    )
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["ready", "sample", "error"]


@pytest.mark.full
def test_a_checkpoint_that_does_not_load_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="exit code 1"):
        Worker("hf_llava", str(tmp_path), "--attention", "sdpa", threads=1)
