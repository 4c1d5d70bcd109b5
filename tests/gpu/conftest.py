"""The device under test. Where there is none, a session that asked for these checks ends with a sentence about it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clasp_trt.errors import ClaspError
from clasp_trt.plugins.driver import load_driver
from tests.gpu.harness.device import Device
from tests.gpu.harness.environment import Environment, cubin_for, probe


@pytest.fixture(scope="session")
def environment() -> Environment:
    try:
        return probe(load_driver())
    except ClaspError as error:
        pytest.exit(str(error), returncode=error.exit_code)


@pytest.fixture(scope="session")
def device(environment: Environment) -> Iterator[Device]:
    """The first GPU, with kernels compiled for it."""
    device = Device(load_driver(), cubin_for(environment).image)
    yield device
    device.close()
