"""What a calibration made of each matrix of the decoder: the file ``rounding.json`` of a bundle that was calibrated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from clasp_trt.bundle.errors import InconsistentManifest, Unreadable
from clasp_trt.storage.fields import Field, Format, load

ROUNDINGS = "rounding.json"
_SCHEMA = 1
_MOST_BYTES = 16 * 2**20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FORMAT = Format(Unreadable, InconsistentManifest, "rebuild the bundle, or copy it again")


@dataclass(frozen=True)
class Rounding:
    """What rounding did to the matrix ``name`` of a graph, ``shape`` being its outputs and inputs: the SHA-256 of its
    integers ``[outputs, inputs]``, a byte each, and its scales ``[outputs, blocks]`` in float32; by how much its
    weights ``changed``, its products with what calibration gave it, ``output``, and the latter by the nearest integers,
    ``nearest``. These three are root mean squares over those of the floats."""

    name: str
    shape: tuple[int, int]
    sha256: str
    changed: float
    output: float
    nearest: float


def dumps(roundings: Iterable[Rounding]) -> str:
    """The text of the file."""
    return json.dumps({"schema": _SCHEMA, "matrices": [asdict(each) for each in roundings]}, indent=1) + "\n"


def read(path: Path) -> dict[str, Rounding]:
    """By name, in the order in which they were rounded. Raises a :class:`~clasp_trt.errors.BundleError`."""
    root = load(path, _FORMAT, limit=_MOST_BYTES)
    root.check_schema(_SCHEMA)
    of = root.record("schema", "matrices")
    return {each.name: each for each in map(_rounding, of["matrices"].elements())}


def _rounding(item: Field) -> Rounding:
    of = item.record(*(entry.name for entry in fields(Rounding)))
    sha256 = of["sha256"].text()
    if not _SHA256.fullmatch(sha256):
        of["sha256"].fail("a lowercase hexadecimal SHA-256")
    shape = of["shape"].elements()
    if len(shape) != 2:
        of["shape"].fail("outputs and inputs")
    outputs, inputs = (size.integer(1) for size in shape)
    return Rounding(
        of["name"].text(),
        (outputs, inputs),
        sha256,
        of["changed"].number(),
        of["output"].number(),
        of["nearest"].number(),
    )
