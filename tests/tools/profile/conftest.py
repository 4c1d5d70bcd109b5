"""One profile of a pruned and an unpruned bundle, with every node timed, shared by the tests that only read it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clasp_trt.bundle import Bundle
from clasp_trt.tools.profile import Options, Report, Workload, profile
from clasp_trt.tools.profile.workload import noise

RUNS, NEW_TOKENS = 3, 4


@pytest.fixture(scope="session")
def question() -> Callable[[Bundle], Workload]:
    return lambda bundle: Workload((noise(bundle),), "How many cups are there?", None, NEW_TOKENS)


@pytest.fixture(scope="session")
def report(built: Callable[..., Bundle], question: Callable[[Bundle], Workload]) -> Report:
    pytest.importorskip("polygraphy")
    bundles = [built(), built(prune_at="none")]
    return profile(bundles, question(bundles[0]), Options(RUNS, 1, threads=1, per_layer=True))
