"""The file that goes with a learned router's graph: its names, hashing, threshold, overrides, and where it comes from.

``docs/router.md`` specifies it. Reading is strict: what a router was not made for, it must not be used with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from clasp_trt.errors import RouterError
from clasp_trt.runtime.routing.features import VERSION

GRAPH, MODEL = "router.onnx", "router.json"
SCHEMA, KIND = 1, "ngram"

_MAX_BUCKETS = 2**24
_MAX_BYTES = 2**20


@dataclass(frozen=True)
class RouterModel:
    """What ``router.json`` says.

    Attributes:
        categories: what the graph's probabilities are of, in order; the last is Default.
        buckets: rows of the graph's table.
        threshold: least probability of a category other than Default.
        temperature: what the graph divides the scores by, for people.
        overrides: phrases that decide alone, each with its category.
        sha256: of the graph's file.
        provenance: what it was trained on; JSON values.
        metrics: what it was measured to do; JSON values.
    """

    categories: tuple[str, ...]
    buckets: int
    threshold: float
    temperature: float
    overrides: Mapping[str, str]
    sha256: str
    provenance: Mapping[str, object]
    metrics: Mapping[str, object]

    def dumps(self) -> str:
        """The file's text."""
        return (
            json.dumps(
                {"schema": SCHEMA, "kind": KIND, "features": VERSION, **asdict(self)}, indent=2, ensure_ascii=False
            )
            + "\n"
        )

    @staticmethod
    def load(path: Path) -> RouterModel:
        """Reads the file. Raises :class:`RouterError`, which names the field that breaks a rule."""
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise RouterError(f"{path} is larger than {_MAX_BYTES >> 20} MiB; expected what `router train` wrote")
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RouterError(f"{path} cannot be read ({error.strerror or error}); train a router first") from None
        except (ValueError, RecursionError) as error:
            raise RouterError(f"{path} is not JSON ({error}); expected what `clasp-trt router train` wrote") from None
        return _checked(value, path)


def _checked(value: object, path: Path) -> RouterModel:
    def fail(what: str) -> NoReturn:
        raise RouterError(f"{path}: {what}; expected what `clasp-trt router train` wrote")

    fields = {"schema", "kind", "features", *RouterModel.__dataclass_fields__}
    if not isinstance(value, dict) or set(value) != fields:
        fail(f"has not exactly the keys {', '.join(sorted(fields))}")
    for key, known in (("schema", SCHEMA), ("kind", KIND), ("features", VERSION)):
        if value[key] != known:
            raise RouterError(f"{path}: {key} is {value[key]!r}, this version reads {known}; train the router again")
    names, buckets = value["categories"], value["buckets"]
    if not (isinstance(names, list) and names and all(isinstance(name, str) and name for name in names)):
        fail("categories is not a list of names")
    if len(set(names)) < len(names):
        fail("categories names one twice")
    if type(buckets) is not int or not 0 < buckets <= _MAX_BUCKETS:
        fail(f"buckets is {buckets!r}, not a whole number up to {_MAX_BUCKETS}")
    threshold, temperature = _number(value["threshold"]), _number(value["temperature"])
    if not 0 <= threshold <= 1:
        fail(f"threshold is {value['threshold']!r}, not a number from 0 to 1")
    if not temperature > 0:
        fail(f"temperature is {value['temperature']!r}, not a number above 0")
    overrides = value["overrides"]
    if not isinstance(overrides, dict) or not set(map(str, overrides.values())) <= set(names):
        fail("overrides does not map phrases to categories")
    if not all(isinstance(value[key], dict) for key in ("provenance", "metrics")):
        fail("provenance and metrics are not objects")
    return RouterModel(
        tuple(names), buckets, threshold, temperature, overrides, str(value["sha256"]),
        value["provenance"], value["metrics"],
    )  # fmt: skip


def _number(value: object) -> float:
    """``value`` if it is a finite number, else one that is in no range."""
    return float(value) if type(value) in (int, float) and math.isfinite(value) else -1.0  # type: ignore[arg-type]
