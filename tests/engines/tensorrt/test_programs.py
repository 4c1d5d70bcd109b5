"""What a build gives its plugins: a plan for the graph's sizes, and one cubin for each GPU that needs its own."""

from __future__ import annotations

import pytest

from clasp_trt.engines.kernels import Cubin
from clasp_trt.engines.tensorrt import programs
from clasp_trt.engines.tensorrt.programs import architecture_for, assembler
from clasp_trt.errors import BackendError
from clasp_trt.operators import PIVOT_SELECT, SPHERICAL_KMEANS
from clasp_trt.plugins.launch import pivot_select, spherical_kmeans


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int | None]]:
    """What the compiler is asked for; it answers at once."""
    asked: list[tuple[str, int | None]] = []

    def compile_kernels(architecture: str, cuda: int | None) -> Cubin:
        asked.append((architecture, cuda))
        return Cubin(architecture.encode(), architecture, (12, 6), {})

    monkeypatch.setattr(programs, "compile_kernels", compile_kernels)
    return asked


def test_programs_hold_the_plans_and_the_cubins(compiled: list[tuple[str, int | None]]) -> None:
    assemble = assembler(("8.9", "12.0", "12.1"), cuda=12)
    pivots, kmeans = assemble(PIVOT_SELECT.name, 0, 1, (16, 7)), assemble(SPHERICAL_KMEANS.name, 3, 1, (16, 7))
    assert compiled == [("8.9", 12), ("12.0", 12)], "each once, and before any program is asked for"
    assert pivots.at(16, 7) == pivot_select(1, 16, 7)
    assert kmeans.at(16, 7) == spherical_kmeans(1, 16, 7, 3)
    for made in (pivots, kmeans):
        assert made.cuda == 12
        assert [(image.sm, image.cubin) for image in made.images] == [("8.9", b"8.9"), ("12.0", b"12.0")]


def test_programs_of_any_number_of_tokens_come_to_the_plans(compiled: list[tuple[str, int | None]]) -> None:
    assemble = assembler(("8.9",))
    pivots, kmeans = assemble(PIVOT_SELECT.name, 0, 1, None), assemble(SPHERICAL_KMEANS.name, 3, 1, None)
    for tokens, keep in (16, 7), (4096, 3840), (33, 32):
        assert pivots.at(tokens, keep).launches == pivot_select(1, tokens, keep).launches
        assert kmeans.at(tokens, keep).launches == spherical_kmeans(1, tokens, keep, 3).launches
    with pytest.raises(ValueError, match="4096"):
        kmeans.at(4097, 3)


@pytest.mark.parametrize(
    ("sm", "architecture"), [("8.7", "8.7"), ("8.9", "8.9"), ("12.0", "12.0"), ("12.1", "12.0"), ("9.0", "9.0")]
)
def test_a_gpu_runs_its_own_code_or_the_next_older(sm: str, architecture: str) -> None:
    assert architecture_for(sm) == architecture


@pytest.mark.parametrize("sm", ["7.5", "11.0", "13.0"])
def test_a_gpu_without_kernels_is_refused(sm: str) -> None:
    with pytest.raises(BackendError, match=rf"--plugins:.*SM {sm}, only for 8\.0,.*; drop it$"):
        architecture_for(sm)
