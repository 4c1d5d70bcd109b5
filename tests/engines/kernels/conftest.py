from __future__ import annotations

import pytest

from tests.engines.kernels.emulator import Emulator, compiled


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    return Emulator.load(compiled(tmp_path_factory.mktemp("emulation")))
