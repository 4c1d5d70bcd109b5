"""``clasp-trt targets``: the devices a bundle can be built for."""

from __future__ import annotations

from dataclasses import asdict

import click

from clasp_trt.cli.examples import examples
from clasp_trt.cli.output import json_option, print_json, print_table
from clasp_trt.targets import TARGETS, Target

_HEAD = ("TARGET", "DEVICE", "SM", "MEMORY", "BANDWIDTH", "JETPACK", "TENSORRT", "PRECISIONS", "BACKENDS")


@click.command(
    "targets",
    epilog=examples("clasp-trt targets"),
)
@json_option
def command(as_json: bool) -> None:
    """List the devices that a bundle can be built for, and what is legal there; the first backend is the default."""
    if as_json:
        print_json(
            [
                {
                    **asdict(t),
                    "backend": t.backend,
                    "opset": {backend: t.opset(backend) for backend in t.backends},
                    "builds_on": t.builds_on,
                }
                for t in TARGETS.values()
            ]
        )
        return
    rows = [_HEAD]
    for t in TARGETS.values():
        memory, bandwidth = _quantity(t.memory_gb, "GB"), _quantity(t.bandwidth_gb_s, "GB/s")
        jetpack, tensorrt = (_versions(t, kind) for kind in ("jetpack", "tensorrt"))
        facts = (t.sm or "-", memory, bandwidth, jetpack, tensorrt)
        rows.append((t.name, t.device, *facts, ", ".join(t.precisions), ", ".join(t.backends)))
    print_table(rows)


def _versions(target: Target, kind: str) -> str:
    """Of JetPack or TensorRT, what the row was written for first."""
    every = [getattr(release, kind) for release in (target, *target.other_releases)]
    return ", ".join(version for version in every if version is not None) or "-"


def _quantity(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:g} {unit}"
