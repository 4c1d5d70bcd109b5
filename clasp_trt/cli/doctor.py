"""``clasp-trt doctor``: what this machine can do with clasp-trt."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import import_module, metadata

import click

import clasp_trt
from clasp_trt.cli.output import json_option, print_json, print_table


@dataclass(frozen=True)
class _Task:
    """Something to do, the distributions it needs, and how to get them; without needs, why it cannot be done."""

    name: str
    needs: tuple[str, ...]
    remedy: str


_RUNTIME = ("onnxruntime", "numpy", "pillow", "tokenizers", "jinja2")
_TASKS = (
    _Task("answer with bundles (run)", _RUNTIME, "pip install clasp-trt"),
    _Task("complete portable bundles (build BUNDLE)", ("onnxruntime", "onnx-ir"), "pip install onnx-ir"),
    _Task(
        "compile checkpoints (build, export)",
        ("onnxruntime", "torch", "transformers", "safetensors", "onnx", "onnx-ir", "onnxscript"),
        "pip install 'clasp-trt[export]'",
    ),
    _Task("build TensorRT engines", (), "not in this version; use --backend onnxruntime"),
)


@click.command("doctor", short_help="Tell what is installed here and what that allows.")
@json_option
def command(as_json: bool) -> None:
    """Tell what is installed here, what that allows, and how to get what is missing."""
    found = {name: _version(name) for task in _TASKS for name in task.needs}
    opset, complaint = _opset_read()
    cores, memory = len(os.sched_getaffinity(0)), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    lacking = {task.name: _lacking(task, found, complaint) for task in _TASKS}
    report = {
        "clasp-trt": clasp_trt.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "usable_cores": cores,
        "memory_bytes": memory,
        "packages": found,
        "onnxruntime": {"loads": complaint is None, "reads_opset": opset, "complaint": complaint},
        "can": {name: reason is None for name, reason in lacking.items()},
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
        click.echo(f"yes  {name}" if reason is None else f"no   {name}: {reason}")


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


def _lacking(task: _Task, found: dict[str, str | None], complaint: str | None) -> str | None:
    """What stands in the way of ``task``, and the remedy; None if nothing does."""
    if not task.needs:
        return task.remedy
    missing = [name for name in task.needs if found[name] is None]
    if missing:
        return f"{', '.join(missing)} missing; {task.remedy}"
    if complaint is not None:
        return "onnxruntime does not load; pip install --force-reinstall onnxruntime"
    return None


def _version(name: str) -> str | None:
    for distribution in (name, f"{name}-gpu") if name == "onnxruntime" else (name,):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None
