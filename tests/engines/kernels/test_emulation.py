"""The emulation finds what it is for: a source with one defect fails against the references.

Each mutation is one barrier left out or one rule turned round. That the sound source passes is what the other tests
of this folder say.
"""

from __future__ import annotations

import faulthandler
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clasp_trt.ops import token_gram
from tests.engines.kernels import test_selection
from tests.engines.kernels.emulator import KERNELS, Emulator, compiled

pytestmark = pytest.mark.full  # kernels on an emulated device

_PASSED = 1 << 8  # as os.waitpid reports the exit status 1
BARRIER = "__syncthreads();"
RULES = {
    "equal keys go to the lowest index": ("rank.cuh", "other < token)", "other > token)"),
    "equal cosines go to the lowest cluster": ("kmeans.cuh", "other_cluster < cluster", "other_cluster > cluster"),
    "the first of a warp's equal clusters": ("kmeans.cuh", "similarity > best", "similarity >= best"),
    "equal medoids go to the lowest index": ("medoids.cuh", "0xffffffffu - ", ""),
    "an empty cluster keeps its sums": ("kmeans.cuh", "if (has_members[k]) sums", "sums"),
    "an empty cluster keeps its length": ("kmeans.cuh", "if (!has_members[k]) next", "if (false) next"),
    "invalid tokens are the last seeds": ("seeds.cuh", "valid ? 0 :", "valid ? behind_all_valid :"),
    "NaN is minus infinity": ("pivot_select.cuh", "saliency == saliency ?", "true ?"),
    "signed zeros are equal": ("pivot_select.cuh", "saliency + 0.0f", "saliency"),
    "the pivot count is clamped": ("pivot_select.cuh", "pivot_count[image] < keep ?", "true ?"),
    "no more than keep are written": ("medoids.cuh", "stays && place < keep", "stays"),
    "the best seeds fill what is left": ("medoids.cuh", "before < free_places", "before <= free_places"),
    "tokens beyond the last are not touched": (
        "kmeans.cuh",
        "if (token < tokens) {\n            for",
        "{\n            for",
    ),
    "lengths start from zero": ("kmeans.cuh", "next_lengths[place] = 0", "(void)next_lengths"),
}

# Each mutation is compiled by itself, so the default run tries a few.
QUICK_RULES = ("equal cosines go to the lowest cluster", "an empty cluster keeps its length")
QUICK_BARRIERS = (("seeds.cuh", 0), ("kmeans.cuh", 0))


def barriers() -> Iterator[tuple[str, int]]:
    for path in sorted(KERNELS.glob("*.cuh")):
        for number in range(path.read_text().count(BARRIER)):
            yield path.name, number


def mutated(folder: Path, name: str, text: str) -> Emulator:
    kernels = folder / "kernels"
    shutil.copytree(KERNELS, kernels, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (kernels / name).write_text(text)
    return Emulator.load(compiled(folder, kernels))


def passes(emulator: Emulator) -> bool:
    """Whether a fixed number of random cases of every kernel agree with their references."""
    try:
        for seed in range(60):
            rng = np.random.default_rng(seed)
            blocks, warps = int(rng.integers(1, 4)), int(rng.integers(2, 6))
            _check_selection(emulator, rng, seed, blocks, warps)
        test_selection.check_clamped(emulator, 7, 4)
        test_selection.check_too_many_pivots(emulator)
    except AssertionError:
        return False
    return True


def _check_selection(emulator: Emulator, rng: np.random.Generator, seed: int, blocks: int, warps: int) -> None:
    batch, tokens = int(rng.integers(1, 4)), int(rng.integers(2, 120))
    keep = int(rng.integers(1, tokens + 1))
    if seed % 2:
        gram = token_gram(test_selection.tokens_with_ties(rng, (batch, tokens, 3)))
    else:
        gram = test_selection.gram_of_few_values(rng, batch, tokens)
    saliency = test_selection.saliency_with_ties(rng, (batch, tokens))
    counts = rng.choice([0, keep // 3, keep], batch)
    test_selection.check(emulator, test_selection.Case(saliency, gram, counts, keep, seed, blocks, warps))


def test_sound_source_passes(emulator: Emulator) -> None:
    assert passes(emulator)


def check_found(folder: Path, name: str, text: str) -> None:
    assert text != (KERNELS / name).read_text(), "the mutation changes nothing: follow the source"
    emulator = mutated(folder, name, text)
    child = os.fork()  # a defect may well end the process
    if child == 0:
        faulthandler.disable()
        signal.alarm(60)  # or never end
        os._exit(int(passes(emulator)))
    _, status = os.waitpid(child, 0)
    assert status != _PASSED, "the defect was not noticed"


@pytest.mark.parametrize("rule", [r if r in QUICK_RULES else pytest.param(r, marks=pytest.mark.slow) for r in RULES])
def test_broken_rule_is_found(rule: str, tmp_path: Path) -> None:
    name, old, new = RULES[rule]
    check_found(tmp_path, name, (KERNELS / name).read_text().replace(old, new))


@pytest.mark.parametrize(
    ("name", "number"), [b if b in QUICK_BARRIERS else pytest.param(*b, marks=pytest.mark.slow) for b in barriers()]
)
def test_missing_barrier_is_found(name: str, number: int, tmp_path: Path) -> None:
    before, after = cut(name, number)
    check_found(tmp_path, name, before + after)


def cut(name: str, number: int) -> tuple[str, str]:
    """The text around one of the barriers of a source file."""
    found = [match.span() for match in re.finditer(re.escape(BARRIER), (KERNELS / name).read_text())][number]
    text = (KERNELS / name).read_text()
    return text[: found[0]], text[found[1] :]


def test_barrier_that_not_all_threads_reach_is_found(emulator: Emulator, tmp_path: Path) -> None:
    before, after = cut("seeds.cuh", 0)
    divergent = mutated(tmp_path, "seeds.cuh", f"{before}if (threadIdx.x != 33) __syncthreads();{after}")
    with pytest.raises(AssertionError, match="divergent barrier"):
        test_selection.check(divergent, test_selection.random_case(tokens=40, keep=9, pivots=3, blocks=2, warps=2))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("seeds.cuh", "highest_of_warp[threadIdx.x]", "highest_of_warp[threadIdx.x + 970]", "past its shared memory"),
        ("seeds.cuh", "keys[image * tokens + token] = key", "keys[token - 40] = key", "workspace"),
        ("medoids.cuh", "kept[static_cast<int64>(image) * keep + place]", "kept[place - 3]", "outside of kept"),
    ],
)
def test_stray_write_is_found(tmp_path: Path, name: str, old: str, new: str, message: str) -> None:
    text = (KERNELS / name).read_text()
    assert old in text
    stray = mutated(tmp_path, name, text.replace(old, new))
    with pytest.raises(AssertionError, match=message):
        test_selection.check(stray, test_selection.random_case(tokens=40, keep=9, pivots=3, blocks=1, warps=2))
