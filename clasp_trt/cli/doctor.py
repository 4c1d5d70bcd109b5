"""``clasp-trt doctor``: what this machine can do with clasp-trt."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib import import_module, metadata

import click

import clasp_trt
from clasp_trt.cli.examples import examples
from clasp_trt.cli.output import json_option, print_json, print_table
from clasp_trt.errors import BackendError
from clasp_trt.targets import COMPILED


@dataclass(frozen=True)
class _Task:
    """Something to do, and the extra of clasp-trt that it takes; "" stands for clasp-trt without any."""

    name: str
    extra: str

    @property
    def remedy(self) -> str:
        return f"pip install 'clasp-trt[{self.extra}]'" if self.extra else "pip install clasp-trt"


@dataclass(frozen=True)
class _Need:
    """A distribution that an extra ("": every installation) requires, and the least version of it, "" for any."""

    extra: str
    name: str
    least: str


@dataclass(frozen=True)
class _Part:
    """What was ``found`` of something that engines take, and what it is ``lacking``, with the remedy; None: nothing."""

    found: str | None
    lacking: str | None


_TASKS = (
    _Task("answer with bundles (run)", ""),
    _Task("hold answers to a form (run --regex, --json-schema)", "grammar"),
    _Task("read video files that are no animations", "video"),
    _Task("complete portable bundles (build BUNDLE)", "build"),
    _Task("compile checkpoints (build, export)", "export"),
    _Task("measure latency and memory (profile)", "profile"),
)
_UNKNOWN = "cannot tell, since clasp-trt itself is not installed; pip install -e . in its source tree"

# What our own metadata holds, such as: onnx-ir>=0.1.12; extra == "build"
_REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:>=\s*([\d.]+))?[^;]*(?:;.*\bextra\s*==\s*[\"']([\w-]+)[\"'])?")


@click.command(
    "doctor",
    epilog=examples("clasp-trt doctor"),
)
@json_option
def command(as_json: bool) -> None:
    """Tell what is installed here, what that allows, and how to get what is missing."""
    needs = _needs()
    found = {need.name: _version(need.name) for need in needs or (_Need("", "onnxruntime", ""),)}
    opset, complaint = _opset_read()
    cores, memory = len(os.sched_getaffinity(0)), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    lacking = {task.name: _lacking(task, needs, found, complaint) for task in _TASKS}
    builders = {backend: _builder(backend) for backend in COMPILED}
    lacking |= {f"build engines ({backend})": builder.lacking for backend, builder in builders.items()}
    gpu = _gpu()
    lacking["run engines"] = gpu.lacking
    seen = {f"build engines ({backend})": builder.found for backend, builder in builders.items()}
    seen["run engines"] = gpu.found
    report = {
        "clasp-trt": clasp_trt.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "usable_cores": cores,
        "memory_bytes": memory,
        "packages": found,
        "onnxruntime": {"loads": complaint is None, "reads_opset": opset, "complaint": complaint},
        "builders": {backend: builder.found for backend, builder in builders.items()},
        "gpu": gpu.found,
        "can": {name: None if reason == _UNKNOWN else reason is None for name, reason in lacking.items()},
    }
    if as_json:
        print_json(report)
        return
    click.echo(
        f"clasp-trt {report['clasp-trt']}, Python {report['python']}, {report['platform']}, "
        f"{cores} usable cores, {memory / 1e9:.1f} GB of memory\n"
    )
    rows = [(name, version or "missing") for name, version in found.items()]
    print_table([(*row, _note(opset, complaint) if row[0] == "onnxruntime" else "") for row in rows])
    click.echo()
    for name, reason in lacking.items():
        answer = "yes" if reason is None else "?" if reason == _UNKNOWN else "no"
        told = reason or seen.get(name)
        click.echo(f"{answer:<4} {name}{'' if told is None else f': {told}'}")


def _builder(backend: str) -> _Part:
    """The library that builds engines for ``backend``."""
    from clasp_trt.engines.tensorrt.device import compute_capability
    from clasp_trt.engines.tensorrt.library import load

    try:
        library = load(backend)
    except BackendError as error:
        return _Part(None, str(error))
    found = f"{backend} {library.version}"
    if not library.ahead and compute_capability() is None:
        return _Part(found, f"{found} is here, but no CUDA GPU, on which it builds")
    return _Part(found, None)


def _gpu() -> _Part:
    """The GPU that engines would run on, whatever it is."""
    from clasp_trt.plugins import load_driver
    from clasp_trt.runtime.backends.cuda.driver import Driver

    try:
        driver = Driver(load_driver())
    except BackendError as error:
        return _Part(None, str(error))
    driver.close()
    return _Part(f"{driver.name}, SM {driver.compute_capability}", None)


def _opset_read() -> tuple[int | None, str | None]:
    """The newest ONNX opset that ONNX Runtime reads here, or why it does not load."""
    try:
        import_module("onnxruntime")
    except Exception as error:  # a missing library, a wrong processor: whatever it is, one asks the doctor for it
        return None, " ".join(str(error).split())
    from clasp_trt.engines.onnxruntime import opset_for
    from clasp_trt.targets import TARGETS

    return opset_for(TARGETS["cpu"]), None


def _note(opset: int | None, complaint: str | None) -> str:
    return f"loads, reads opset {opset}" if complaint is None else f"does not load: {complaint}"


def _needs() -> tuple[_Need, ...]:
    """The requirements that the installed clasp-trt states for the tasks; none if it is not installed."""
    try:
        stated = metadata.requires("clasp-trt") or []
    except metadata.PackageNotFoundError:
        return ()
    matches = filter(None, map(_REQUIREMENT.match, stated))
    needs = (_Need(match[3] or "", match[1], match[2] or "") for match in matches)
    extras = {task.extra for task in _TASKS}
    return tuple(need for need in needs if need.extra in extras)


def _lacking(task: _Task, needs: tuple[_Need, ...], found: dict[str, str | None], complaint: str | None) -> str | None:
    """What stands in the way of ``task``, and the remedy; None if nothing does."""
    if not needs:
        return _UNKNOWN
    faults = []
    for need in needs:
        version = found[need.name]
        if need.extra not in ("", task.extra):
            continue
        if version is None:
            faults.append(f"{need.name} missing")
        elif _release(version) < _release(need.least):
            faults.append(f"{need.name} {version} older than {need.least}")
    if faults:
        return f"{', '.join(faults)}; {task.remedy}"
    if complaint is not None:
        return "onnxruntime does not load; pip install --force-reinstall onnxruntime"
    return None


def _release(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with, without zeros at the end: (2, 9, 1) for 2.9.1+cpu, (1,) for 1.0."""
    numbers = [int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", version)[0])]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _version(name: str) -> str | None:
    for distribution in (name, f"{name}-gpu") if name == "onnxruntime" else (name,):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None
