"""Every kernel on the device against the numpy reference, over the promised range of sizes, types and tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.gpu.harness import checks
from tests.gpu.harness.cases import DTYPES, KINDS, Case, cases, ends
from tests.gpu.harness.device import Device

pytestmark = pytest.mark.gpu

RUNS = 20
ATTENTIONS = (
    checks.Attention(1, 1, 1, 2, 2, 1, 1),
    checks.Attention(32, 32, 128, 640, 2048, 64, 576),
    checks.Attention(28, 4, 128, 3000, 4096, 100, 2880),
)


def _sizes(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


@pytest.mark.parametrize("case", cases(), ids=str)
def test_selection(device: Device, case: Case, record_property: Callable[[str, object], None]) -> None:
    ours, naive = checks.check_selection(device, case)
    record_property("gram error", {"case": str(case), "dtype": case.dtype, "ours": ours, "naive": naive})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_from_run_to_run(device: Device, dtype: str, kind: str) -> None:
    checks.check_repeats(device, Case(576, 1024, dtype, kind, ends(576)), RUNS)


def test_same_bits_at_the_largest_size(device: Device) -> None:
    checks.check_repeats(device, Case(4096, 4096, "float16", "smooth", (256,)), RUNS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads_rows_tokens", [(1, 1, 1), (32, 64, 576), (28, 200, 2880), (64, 511, 4096)], ids=_sizes)
def test_saliency(device: Device, dtype: str, heads_rows_tokens: tuple[int, int, int]) -> None:
    checks.check_saliency(device, *heads_rows_tokens, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", ATTENTIONS, ids=str)
def test_saliency_from_queries_and_keys(device: Device, dtype: str, sizes: checks.Attention) -> None:
    checks.check_attention_saliency(device, sizes, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sequence_tokens_keep_width",
    [(1, 1, 1, 1), (640, 576, 192, 4096), (700, 577, 1, 257), (4500, 4096, 4095, 8192)],
    ids=_sizes,
)
def test_prune(device: Device, dtype: str, sequence_tokens_keep_width: tuple[int, int, int, int]) -> None:
    checks.check_prune(device, *sequence_tokens_keep_width, dtype=dtype)
