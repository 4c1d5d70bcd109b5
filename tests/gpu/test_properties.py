"""The property tests of the emulated kernels, every one, with the device in the place of the emulator."""

from __future__ import annotations

import pytest

from tests.gpu.harness.device import Device

pytest.importorskip("hypothesis", reason="hypothesis, which draws the cases, is not installed")

from tests.engines.kernels import test_selection

pytestmark = pytest.mark.gpu

globals().update({name: test for name, test in vars(test_selection).items() if name.startswith("test_")})


@pytest.fixture(scope="session")
def emulator(device: Device) -> Device:
    return device
