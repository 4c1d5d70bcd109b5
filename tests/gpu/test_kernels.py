"""Every kernel on the device against the numpy reference, over the promised range of sizes and kinds of tokens."""

from __future__ import annotations

import pytest

from tests.gpu.harness import checks
from tests.gpu.harness.cases import KINDS, Case, cases, ends
from tests.gpu.harness.device import Device

pytestmark = pytest.mark.gpu

RUNS = 20


@pytest.mark.parametrize("case", cases(), ids=str)
def test_selection(device: Device, case: Case) -> None:
    checks.check_selection(device, case)


@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_from_run_to_run(device: Device, kind: str) -> None:
    checks.check_repeats(device, Case(576, kind, ends(576)), RUNS)


def test_same_bits_at_the_largest_size(device: Device) -> None:
    checks.check_repeats(device, Case(4096, "smooth", (256,)), RUNS)
