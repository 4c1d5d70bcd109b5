"""The kernels compile for every architecture without a GPU, and what they take is what the documents say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clasp_trt.engines.kernels import ARCHITECTURES, Cubin, compile_kernels, nvrtc
from clasp_trt.engines.kernels.__main__ import resource_table
from clasp_trt.errors import BackendError
from clasp_trt.plugins import launch
from tests.house import PYPROJECT, ROOT
from tests.started import own_environment

REGISTERS_OF_A_MULTIPROCESSOR = 65536
STATIC_AND_DYNAMIC_SHARED = 48 << 10  # what a launch may take without asking the driver for more


def installed(major: int) -> nvrtc.Compiler:
    """The compiler of one CUDA release. Without it the test is skipped, except under CI, which installs both."""
    try:
        return nvrtc.load(major)
    except BackendError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def targets() -> Iterator[object]:
    """Compilers and architectures; the default run compiles for JetPack 6 alone."""
    for architecture in ARCHITECTURES:
        yield pytest.param((13, architecture), id=f"cuda13-{architecture}", marks=pytest.mark.full)
        if architecture != "12.0":
            marks = () if architecture == "8.7" else pytest.mark.slow
            yield pytest.param((12, architecture), id=f"cuda12-{architecture}", marks=marks)


@pytest.fixture(scope="module", params=targets())
def cubin(request: pytest.FixtureRequest) -> Cubin:
    major, architecture = request.param
    installed(major)
    return compile_kernels(architecture, major)


def plans() -> Iterator[launch.Plan]:
    """Plans that together launch every kernel, at their largest shapes."""
    yield launch.pivot_select(1, 4096, 4095)
    yield launch.spherical_kmeans(1, 4096, 4095)
    yield launch.spherical_kmeans(1, 4096, 4096)


def test_image_is_device_code_of_the_plans_kernels(cubin: Cubin) -> None:
    assert cubin.image[:4] == b"\x7fELF"
    assert set(cubin.resources) == {kernel for plan in plans() for kernel in plan.kernels}
    assert all(kernel.encode() in cubin.image for kernel in cubin.resources)


def test_nothing_is_spilled(cubin: Cubin) -> None:
    assert {name: each for name, each in cubin.resources.items() if each.spill_bytes or each.local_bytes} == {}


def test_every_launch_fits_a_multiprocessor(cubin: Cubin) -> None:
    for each in (each for plan in plans() for each in plan.launches):
        takes = cubin.resources[each.kernel]
        assert takes.registers * each.block[0] <= REGISTERS_OF_A_MULTIPROCESSOR, each.kernel
        assert takes.shared_bytes + each.shared_bytes <= STATIC_AND_DYNAMIC_SHARED, each.kernel


@pytest.mark.full
def test_same_source_same_name() -> None:
    installed(13)
    once, again = compile_kernels("8.7", 13), compile_kernels.__wrapped__("8.7", 13)
    assert again is not once
    assert again == once
    assert again.sha256 == once.sha256 != compile_kernels("9.0", 13).sha256


@pytest.mark.full  # compiles for every architecture
def test_documented_table_is_this_one() -> None:
    compiler = installed(13)
    document = (ROOT / "docs" / "kernels.md").read_text()
    version = f"NVRTC {compiler.version[0]}.{compiler.version[1]}"
    if version not in document:
        pytest.skip(f"docs/kernels.md was written with another compiler than {version}")
    assert resource_table() in document, "python -m clasp_trt.engines.kernels prints the table"


def test_pinned_compiler_is_the_documented_one() -> None:
    """The comparison above is never skipped where the pinned versions are installed."""
    (pin,) = [
        line.partition("==")[2]
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.startswith("nvidia-cuda-nvrtc==")
    ]
    assert f"NVRTC {'.'.join(pin.split('.')[:2])}" in (ROOT / "docs" / "kernels.md").read_text()


def test_missing_compiler_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "_candidates", lambda major: iter(["/nowhere/libnvrtc.so"]))
    for major, package in (None, "nvidia-cuda-nvrtc"), (12, "nvidia-cuda-nvrtc-cu12"):
        with pytest.raises(BackendError, match=f"pip install {package}$"):
            nvrtc.load.__wrapped__(major)


def test_what_the_compiler_opens_by_name_is_found_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVRTC 13.0 opens its builtins when it compiles, and looks for them where the system's loader does."""
    wheel = tmp_path / "nvidia" / "cu13" / "lib"
    wheel.mkdir(parents=True)
    shared_library(wheel / "libnvrtc-builtins.so.13.0", "")
    shared_library(
        wheel / "libnvrtc.so.13",
        """
        #include <dlfcn.h>
        extern "C" const char* nvrtcGetErrorString(int) { return "no builtins"; }
        extern "C" int nvrtcVersion(int* major, int* minor) {
            *major = 13, *minor = 0;
            return dlopen("libnvrtc-builtins.so.13.0", RTLD_NOW) == nullptr;
        }
        """,
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert nvrtc.load.__wrapped__(13).version == (13, 0)


def shared_library(path: Path, text: str) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    subprocess.run(
        ["g++", "-x", "c++", "-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-", "-o", str(path)],
        env=own_environment(), input=text, text=True, check=True,
    )  # fmt: skip


def test_architecture_that_is_not_on_the_list_is_refused() -> None:
    installed(13)
    with pytest.raises(BackendError, match=r"compute capability 7\.5"):
        compile_kernels("7.5", 13)


def test_architecture_newer_than_the_compiler_is_refused() -> None:
    installed(12)
    with pytest.raises(BackendError, match=r"NVRTC 12\.\d+.*12\.0: pip install nvidia-cuda-nvrtc"):
        compile_kernels("12.0", 12)


def test_source_that_does_not_compile_shows_the_log() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)do not compile.*identifier \"nothing\" is undefined"):
        installed(13).compile("a.cu", {"a.cu": "__device__ int f() { return nothing; }"}, ())


def test_both_compilers_come_with_the_extra() -> None:
    wanted = PYPROJECT["project"]["optional-dependencies"]["kernels"]
    assert [each.partition(">")[0] for each in wanted] == ["nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"]
